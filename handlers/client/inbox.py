"""One inbox for the outcomes of durable commands, and where each waits for its own."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from nats.aio.client import Client
from nats.aio.msg import Msg


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
        """Return a subject for `Reply-To`, and the slot that what comes there is put into."""
        async with self._opening:
            if self._prefix is None:
                prefix = self._nc.new_inbox()
                await self._nc.subscribe(f"{prefix}.*", cb=self._received)
                self._prefix = prefix
        self._number += 1
        slot = Slot()
        self._slots[str(self._number)] = slot
        return f"{self._prefix}.{self._number}", slot

    async def _received(self, message: Msg) -> None:
        slot = self._slots.get(message.subject.rpartition(".")[2])
        if slot is not None and not slot.arrived.done():
            slot.arrived.set_result(message)
