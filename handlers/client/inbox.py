"""One inbox for all answers to a client, and where each waits for its own.

nats-py's own `request` makes a random name for each answer, and hands it on through a task more.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from handlers.wire.at_once import request_at_once

_STATUS, _NOBODY = "Status", "503"
"""The header that a server answers with itself where nobody listens, and what it says then."""


class Slot:
    """The place of one outcome; it is forgotten when nobody holds it any more."""

    __slots__ = ("__weakref__", "arrived")

    def __init__(self) -> None:
        self.arrived: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()


class Inbox:
    """A subject of the client's own, subscribed to when it is first needed."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._prefix: str | None = None
        self._slots: WeakValueDictionary[str, Slot] = WeakValueDictionary()
        self._opening = asyncio.Lock()
        self._number = 0

    async def slot(self) -> tuple[str, Slot]:
        """Return a subject for an answer, and the slot that what comes there is put into."""
        if self._prefix is None:
            await self._open()
        self._number += 1
        slot = Slot()
        self._slots[str(self._number)] = slot
        return f"{self._prefix}.{self._number}", slot

    async def request(self, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> Msg:
        """Publish a request and return its answer.

        Raises NatsTimeout after `timeout` seconds, NoRespondersError, and what nats-py's `publish` raises.
        """
        reply, slot = await self.slot()
        if not request_at_once(self._nc, subject, reply, body, headers):
            await self._nc.publish(subject, body, reply=reply, headers=headers or None)
        try:
            async with asyncio.timeout(timeout):
                answer = await slot.arrived
        except TimeoutError:
            raise NatsTimeout from None
        if answer.headers and answer.headers.get(_STATUS) == _NOBODY:
            raise NoRespondersError
        return answer

    async def _open(self) -> None:
        async with self._opening:
            if self._prefix is None:
                prefix = self._nc.new_inbox()
                await self._nc.subscribe(f"{prefix}.*", cb=self._received)
                self._prefix = prefix

    async def _received(self, message: Msg) -> None:
        slot = self._slots.get(message.subject.rpartition(".")[2])
        if slot is not None and not slot.arrived.done():
            slot.arrived.set_result(message)
