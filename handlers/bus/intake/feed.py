"""What a partition's consumer delivers: in order, from a sequence on, and never more than fits.

The consumer wants no acks and lives in the server's memory: what is decided stands in PostgreSQL, and a lost
consumer is made again from there. A pull request stands at all times, so a lone message comes at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple
from uuid import uuid4

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header

from handlers.adapters import jetstream

_SECOND = 1_000_000_000
_EXPIRES = 20
"""Seconds a pull request stands; a request that is not heard of until then, and a bit, is lost."""
_GRACE = 3.0
_IDLE = 120
"""Seconds after which the server forgets a consumer that nobody asks anything of."""
_SPENT = ("Batch Completed", "Message Size Exceeds MaxBytes")
"""Ends of a pull request, besides its time, that say nothing about the consumer."""


class FeedLost(Exception):
    """The consumer is gone, or a message may have been lost on the way: open it again."""


class Delivery(NamedTuple):
    """A message, its sequence in the stream, and when it was stored (ns)."""

    sequence: int
    stored_at: int
    message: Msg


class Feed:
    """One partition's messages after a sequence.

    At most `window` messages, and about `max_bytes`, are here or on their way; `max_bytes` must hold the
    largest message of the stream.
    """

    def __init__(self, nc: Client, stream: str, subject: str, *, window: int, max_bytes: int) -> None:
        self._nc = nc
        self._stream = stream
        self._subject = subject
        self._window = window
        self._max_bytes = max_bytes
        self._consumer = f"commands-{uuid4().hex}"
        self._inbox = nc.new_inbox()
        self._subscription: Subscription | None = None
        self._buffer: deque[Delivery] = deque()
        self._bytes = 0
        self._delivered = 0
        self._asked = 0
        self._asked_until = 0.0
        self._arrived = asyncio.Event()
        self._lost: str | None = None

    async def open(self, after: int) -> None:
        """Make the consumer and ask for messages. Raises JetStreamError, and nats-py's errors."""
        config = {
            "name": self._consumer,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "filter_subject": self._subject,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _IDLE * _SECOND,
        }
        request = {"stream_name": self._stream, "config": config, "action": "create"}
        await jetstream.call(
            self._nc, f"CONSUMER.CREATE.{self._stream}.{self._consumer}.{self._subject}", request
        )
        self._subscription = await self._nc.subscribe(self._inbox, cb=self._receive, pending_bytes_limit=0)
        await self._ask()

    async def close(self) -> None:
        """End the consumer, without waiting for the server."""
        self.lose("closed")
        if self._nc.is_closed or self._nc.is_draining:
            return
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        await self._nc.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}")

    def lose(self, reason: str) -> None:
        """Count the consumer as lost."""
        self._lost = self._lost or reason
        self._arrived.set()

    async def ready(self) -> None:
        """Wait for a message. Raises FeedLost when none is left and none will come."""
        while not self._buffer:
            await self._wait()

    async def take(self, limit: int) -> list[Delivery]:
        """Return up to `limit` of the messages that are here."""
        taken = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._bytes -= sum(len(each.message.data) for each in taken)
        await self._ask()
        return taken

    async def _wait(self) -> None:
        if self._lost is not None:
            raise FeedLost(self._lost)
        self._arrived.clear()
        try:
            async with asyncio.timeout(_EXPIRES + _GRACE):
                await self._arrived.wait()
        except TimeoutError:
            if asyncio.get_running_loop().time() > self._asked_until + _GRACE:
                raise FeedLost("no answer to a pull request") from None

    async def _receive(self, message: Msg) -> None:
        if not message.reply.startswith("$JS.ACK."):
            await self._note(message.headers or {})
            return
        tokens = message.reply.split(".")
        # $JS.ACK.[domain.account.]stream.consumer.tries.sequence.count.time.pending[.random]
        at = 5 if len(tokens) == 9 else 7
        if int(tokens[at + 1]) != self._delivered + 1:
            self.lose("a message was lost on the way")
        if self._lost is not None:
            return
        self._delivered += 1
        self._asked -= 1
        self._bytes += len(message.data)
        self._buffer.append(Delivery(int(tokens[at]), int(tokens[at + 2]), message))
        self._arrived.set()
        if not self._asked:
            await self._ask()

    async def _note(self, headers: dict[str, str]) -> None:
        status, description = headers.get(Header.STATUS.value), headers.get(Header.DESCRIPTION, "")
        if status == "408" or (status == "409" and description in _SPENT):
            self._asked = 0
            await self._ask()
        elif status != "100":
            self.lose(f"{status} {description}".strip())

    async def _ask(self) -> None:
        """Ask for as much as fits, unless a request stands or much is here already."""
        if self._asked or self._lost is not None:
            return
        if len(self._buffer) > self._window // 2 or self._bytes > self._max_bytes // 2:
            return
        self._asked = self._window - len(self._buffer)
        self._asked_until = asyncio.get_running_loop().time() + _EXPIRES
        request = {"batch": self._asked, "max_bytes": self._max_bytes, "expires": _EXPIRES * _SECOND}
        await self._nc.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            msgspec.json.encode(request),
            reply=self._inbox,
        )
