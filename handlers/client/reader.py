"""Reading one consumer by standing pulls, as long as all that it delivers arrives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

PULL = 500
"""Messages asked for at once: as many are held here at most, however slow the subscriber is."""

EXPIRES = 30.0
"""Seconds until a request for messages is made anew."""

HEARTBEAT = 1.0
"""Seconds after which the server says that it is still there."""

SILENCE = 2.5
"""Seconds without a word after which it is taken to be gone."""

_STATUS = "Status"
_STILL_THERE, _REQUEST_OVER = "100", "408"


def request_of(expires: float, heartbeat: float) -> bytes:
    """Return a request for messages; times in seconds."""
    asked = {"batch": PULL, "expires": int(expires * 1e9), "idle_heartbeat": int(heartbeat * 1e9)}
    return msgspec.json.encode(asked)


REQUEST = request_of(EXPIRES, HEARTBEAT)


class Interrupted(Exception):
    """The reader cannot go on; another one can."""


class Reader:
    """The messages of one consumer, in order and without a hole, until it is Interrupted.

    `requests` is the subject that takes requests for messages; they come to `inbox`, whose subscription
    calls `arrived`.
    """

    def __init__(self, nc: Client, requests: str, inbox: str) -> None:
        self.inbox = inbox
        self._nc = nc
        self._requests = requests
        self._fresh: deque[Msg] = deque()
        self._something = asyncio.Event()

    async def arrived(self, message: Msg) -> None:
        """Take in a message."""
        self._fresh.append(message)
        self._something.set()

    async def __aiter__(self) -> AsyncGenerator[Msg]:
        """Yield messages. Raises Interrupted, and nats-py's errors."""
        delivered = wanted = 0
        while True:
            if not wanted:
                await self._nc.publish(self._requests, REQUEST, reply=self.inbox)
                wanted = PULL
            message = await self._next()
            status = message.headers and message.headers.get(_STATUS)
            if status == _REQUEST_OVER:
                wanted = 0
            elif status and status != _STILL_THERE:
                raise Interrupted(f"the server says {status}")
            elif not status:
                delivered += 1
                wanted -= 1
                if message.metadata.sequence.consumer != delivered:
                    raise Interrupted("a message was lost on its way")
                yield message

    async def _next(self) -> Msg:
        while not self._fresh:
            self._something.clear()
            try:
                async with asyncio.timeout(SILENCE):
                    await self._something.wait()
            except TimeoutError:
                raise Interrupted("the server is silent") from None
        return self._fresh.popleft()
