"""The stream of commands: what all partitions have decided is purged, and its bytes go from the file.

The server keeps a stream in a file of blocks, and a purge removes whole blocks: where something younger
stands in the last of them, the bytes of what was purged stay with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.command_places import Place, compared
from handlers.adapters.effects import EffectFailed
from handlers.adapters.jetstream import Json
from handlers.wire.subjects import Subjects

Places: TypeAlias = Callable[[], Awaitable[Mapping[int, Place]]]
"""Gives up to where each partition is decided."""

LARGEST_BLOCK = 8 * 1024 * 1024
"""Bytes of the largest block that nats-server makes of a stream's file."""

_LOOK = 0.02
"""Seconds between two tries to meet the stream when nothing is on its way."""


_START = Place(0, None)


class _Look(NamedTuple):
    """The stream as it was, and on which connection of ours it was asked for."""

    info: Json
    connection: int


class CommandStream:
    """The stream `name` of commands; in `patience` seconds a sweep is done, or has failed."""

    def __init__(
        self, nc: Client, subjects: Subjects, name: str, places: Places, *, patience: float = 30.0
    ) -> None:
        self._nc, self._subjects, self._name, self._places = nc, subjects, name, places
        self._patience = patience

    async def purge(self) -> Json | None:
        """Purge what all partitions have passed; returns the stream as it was before, None where none is.

        Raises JetStreamError, nats-py's errors, and what `places` raises.
        """
        look = await self._look()
        if look is not None and look.info["state"]["messages"]:
            await self._purge(look)
        return None if look is None else look.info

    async def sweep(self) -> None:
        """Have all bytes removed of what is not in the stream any more; a missing stream has none.

        A purge up to the end removes every block, if nothing came meanwhile. A stream that is never idle
        loses a block by itself once more than a block's bytes have come and gone behind it.
        Raises EffectFailed when neither was seen in time, and as `purge` does.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._sweep()
        except TimeoutError:
            raise EffectFailed(f"Bytes of purged commands are still in the file of {self._name}.") from None

    async def _sweep(self) -> None:
        upto: int | None = None
        gone = 0
        while (look := await self._look()) is not None:
            passed = await self._purge(look)
            now = await jetstream.stream_info(self._nc, self._name)
            was, is_now = look.info["state"], (now or look.info)["state"]
            if not is_now["messages"] and passed == was["last_seq"] == is_now["last_seq"]:
                return
            upto = was["last_seq"] if upto is None else upto
            if was["first_seq"] > upto:
                gone += max(0, was["bytes"] - is_now["bytes"])
            if gone > LARGEST_BLOCK:
                return
            await asyncio.sleep(_LOOK)

    async def undecided(self, subject: str, upto: int) -> int:
        """Return how many messages up to `upto` with a subject like this one are still to be decided.

        All of them are, in a partition whose place does not hold in the stream as it is. Raises as `purge`.
        """
        look = await self._look()
        if look is None:
            return 0
        places, count, after = await self._places(), 0, 0
        decided: dict[int, int] = {}
        while (found := await jetstream.message(self._nc, self._name, after + 1, subject)) is not None:
            after = found.sequence
            if after > upto:
                break
            partition = self._subjects.partition_of(found.subject)
            if partition not in decided:
                place = places.get(partition, _START)
                decided[partition] = place.sequence if await self._holds(look.info, partition, place) else 0
            count += after > decided[partition]
        return count

    async def _look(self) -> _Look | None:
        connection = self._nc.stats["reconnects"]
        info = await jetstream.stream_info(self._nc, self._name)
        return None if info is None else _Look(info, connection)

    async def _purge(self, look: _Look) -> int:
        """Purge up to where all partitions were decided at that look, and return that sequence.

        Nothing is purged behind a connection that was lost: the stream may have been put back meanwhile.
        """
        passed = await self._passed(look.info)
        if not self._nc.is_connected or self._nc.stats["reconnects"] != look.connection:
            return 0
        if passed + 1 >= look.info["state"]["first_seq"]:
            await jetstream.call(self._nc, f"STREAM.PURGE.{self._name}", {"seq": passed + 1})
        return passed

    async def _passed(self, info: Json) -> int:
        """Return up to where no partition has anything left to decide; 0 while not all count in this stream.

        A partition without a message after its sequence has passed all that was there before we asked.
        """
        passed: int = info["state"]["last_seq"]
        if not info["state"]["messages"]:
            return passed
        places = await self._places()
        for partition, place in places.items():
            if not await self._holds(info, partition, place):
                return 0
        for partition, (sequence, *_) in sorted(places.items(), key=lambda item: item[1].sequence):
            if sequence >= passed:
                break
            subject = self._subjects.partition(partition)
            found = await jetstream.message(self._nc, self._name, sequence + 1, subject)
            if found is not None:
                passed = min(passed, found.sequence - 1)
        return passed

    async def _holds(self, info: Json, partition: int, place: Place) -> bool:
        """Return whether a partition is decided up to its place in this very stream."""
        if place.stream != info["created"]:
            return False
        return (await compared(self._nc, info, self._subjects.partition(partition), place)).wrong is None
