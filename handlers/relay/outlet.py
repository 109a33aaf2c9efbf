"""Publishing into a stream in runs: pipelined, fenced, and with one acknowledgement for each run.

Every message says which sequence it expects before it (its own position less one), and which id, but for the
very first, since a server that was started again has forgotten the id. So a message is stored only right
behind its predecessor, and an acknowledged one vouches for all before it: only the last of a run asks. The
id keeps out a stranger: his message takes a sequence, and without the id the message behind the one that he
displaced would fit, and nobody would notice.

nats-py's `publish` takes 20 µs a message, most of it for headers that it checks and joins one by one, and an
acknowledgement takes as long again; a run as one block of protocol takes 3 µs a message. That is why
the block is handed to the function that `publish` itself hands its messages to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count, takewhile
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from handlers.relay.cloud_events import Message
from handlers.wire import headers as names

BLOCK = 256 * 1024
"""Bytes handed to the connection at once: enough to be cheap, too little to be felt by others on it."""

GLANCE = 0.2
"""Seconds between two looks whether the connection that an acknowledgement would come on still stands."""

OUT_OF_PLACE = frozenset((10070, 10071))
"""JetStream's codes for another last id, or another last sequence, than the expected one."""

_BAD_REQUEST = 400
"""JetStream's status of a refusal for what a message is; with others the trouble is the server's own."""

_FENCES = 256
"""Bytes that a message's size may grow by what is put around its own headers and body."""


class NotStored(Exception):
    """A run was refused, or its acknowledgement did not come: none, some or all of it may be stored."""


class Refused(NotStored):
    """The server refused a run for what it is: `for_good` tells that it will never take its last message."""

    def __init__(self, description: str, for_good: bool) -> None:
        super().__init__(description)
        self.for_good = for_good


class OutOfPlace(NotStored):
    """The stream does not end where the run begins: somebody else has published, or it was cut back."""


class TooLarge(Exception):
    """A message is larger than the server takes."""


class Run(NamedTuple):
    """Messages on their way: how many, position and id of the last, and what the server will answer to it."""

    size: int
    last: int
    last_id: str
    answer: asyncio.Future[bytes]
    connection: int


class Outlet:
    """Publishes runs of messages over `nc`, and waits `patience` seconds for each acknowledgement."""

    def __init__(self, nc: Client, patience: float) -> None:
        self._nc = nc
        self._patience = patience
        self._numbers = count()
        self._answers: dict[str, asyncio.Future[bytes]] = {}
        self._inbox = nc.new_inbox()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Listen for acknowledgements while inside."""
        subscription = await self._nc.subscribe(f"{self._inbox}.*", cb=self._answered)
        try:
            yield
        finally:
            if not self._nc.is_closed:
                await subscription.unsubscribe()

    async def _answered(self, answer: Msg) -> None:
        waiting = self._answers.pop(answer.subject.rpartition(".")[2], None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.data)  # empty when no stream listens

    @property
    def largest(self) -> int:
        """The bytes that headers and body of a message may have in all, as the connection says now."""
        return self._nc.max_payload - _FENCES

    async def send(self, messages: Sequence[Message], former: str) -> Run:
        """Publish consecutive messages, and return the run: up to the first that is too large for the server.

        `former` is the id of the message before them, empty for the first run after a look at the stream.
        Raises NotStored where there is no connection, and TooLarge for the first message.
        """
        if not self._nc.is_connected:
            raise NotStored("no connection to NATS")
        largest = self.largest
        fitting = list(takewhile(lambda m: m.size <= largest, messages))
        if not fitting:
            raise TooLarge(f"message {messages[0].position} is larger than the server's max_payload")
        number = str(next(self._numbers))
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        connection = self._nc.stats["reconnects"]
        for block in _blocks(fitting, former, f"{self._inbox}.{number} "):
            await self._write(block)
        return Run(len(fitting), fitting[-1].position, fitting[-1].id, answer, connection)

    async def _write(self, block: bytes) -> None:
        await self._nc._send_command(block)  # pyright: ignore[reportPrivateUsage] - see above
        await self._nc._flush_pending()  # pyright: ignore[reportPrivateUsage]

    async def stored(self, run: Run) -> None:
        """Return when all of the run is stored. Raises OutOfPlace, NotStored."""
        try:
            async with asyncio.timeout(self._patience):
                while not run.answer.done():
                    await asyncio.wait((run.answer,), timeout=GLANCE)
                    self._look(run)
        except TimeoutError:
            raise NotStored("no acknowledgement in time") from None
        _check(run.answer.result(), run.last)

    def _look(self, run: Run) -> None:
        lost = not self._nc.is_connected or self._nc.stats["reconnects"] != run.connection
        if lost and not run.answer.done():
            raise NotStored("the connection to NATS was lost")

    def forget(self) -> None:
        """Wait for no run any more."""
        self._answers.clear()


def _blocks(messages: Sequence[Message], former: str, reply: str) -> Iterator[bytes]:
    """Yield the messages in NATS' protocol, the last with `reply`, in blocks of a bounded size."""
    block: list[bytes] = []
    size = 0
    last = messages[-1]
    for message in messages:
        chain = f"{names.EXPECTED_LAST_MSG_ID}: {former}\r\n" if former else ""
        former = message.id
        head = (
            f"NATS/1.0\r\n{names.EXPECTED_LAST_SEQUENCE}: {message.position - 1}\r\n"
            f"{chain}{message.headers}\r\n"
        ).encode()
        body = message.body
        block.append(
            b"HPUB %b %b%d %d\r\n%b%b\r\n"
            % (
                message.subject.encode(),
                reply.encode() if message is last else b"",
                len(head),
                len(head) + len(body),
                head,
                body,
            )
        )
        size += len(head) + len(body)
        if size >= BLOCK:
            yield b"".join(block)
            block, size = [], 0
    if block:
        yield b"".join(block)


def _check(answer: bytes, position: int) -> None:
    if not answer:
        raise NotStored("no stream takes the events")
    ack: dict[str, Any] = msgspec.json.decode(answer)
    if error := ack.get("error"):
        description = error.get("description", "refused")
        if error.get("err_code") in OUT_OF_PLACE:
            raise OutOfPlace(description)
        raise Refused(description, error.get("code") == _BAD_REQUEST)
    if ack["seq"] != position:
        raise OutOfPlace(f"event {position} has sequence {ack['seq']}")
