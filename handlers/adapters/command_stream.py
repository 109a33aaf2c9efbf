"""The stream of commands: what all partitions have decided is purged, and its bytes go from the file.

The server keeps a stream in a file of blocks, and a purge removes whole blocks: where something younger
stands in the last of them, the bytes of what was purged stay with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.effects import EffectFailed
from handlers.adapters.jetstream import Json
from handlers.wire.subjects import Subjects

PLACES = "SELECT partition, sequence, stream FROM service.command_progress"
"""Up to which sequence each partition is decided, and when the stream was made that it counts in."""

Places: TypeAlias = Callable[[], Awaitable[Mapping[int, tuple[int, str | None]]]]
"""Gives what PLACES gives: sequence and stream, by partition."""

LARGEST_BLOCK = 8 * 1024 * 1024
"""Bytes of the largest block that nats-server makes of a stream's file."""

_LOOK = 0.02
"""Seconds between two tries to meet the stream when nothing is on its way."""


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
        info = await jetstream.stream_info(self._nc, self._name)
        if info is not None and info["state"]["messages"]:
            await self._purge(info)
        return info

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
        while (former := await jetstream.stream_info(self._nc, self._name)) is not None:
            passed = await self._purge(former)
            now = await jetstream.stream_info(self._nc, self._name)
            was, is_now = former["state"], (now or former)["state"]
            if not is_now["messages"] and passed == was["last_seq"] == is_now["last_seq"]:
                return
            upto = was["last_seq"] if upto is None else upto
            if was["first_seq"] > upto:
                gone += max(0, was["bytes"] - is_now["bytes"])
            if gone > LARGEST_BLOCK:
                return
            await asyncio.sleep(_LOOK)

    async def _purge(self, info: Json) -> int:
        """Purge up to where all partitions were decided when `info` was given, and return that sequence."""
        passed = await self._passed(info)
        if passed + 1 >= info["state"]["first_seq"]:
            await jetstream.call(self._nc, f"STREAM.PURGE.{self._name}", {"seq": passed + 1})
        return passed

    async def _passed(self, info: Json) -> int:
        """Return up to where no partition has anything left to decide.

        A partition without a message after its sequence has passed all that was there before we asked.
        """
        passed: int = info["state"]["last_seq"]
        if not info["state"]["messages"]:
            return passed
        places = await self._places()
        if any(made != info["created"] for _, made in places.values()):
            return 0  # not all count in this stream yet
        for partition, (sequence, _) in sorted(places.items(), key=lambda item: item[1][0]):
            if sequence >= passed:
                break
            subject = self._subjects.partition(partition)
            found = await jetstream.message(self._nc, self._name, sequence + 1, subject)
            if found is not None:
                passed = min(passed, found.sequence - 1)
        return passed
