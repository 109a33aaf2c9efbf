"""The stream of commands: of what was purged no byte stays in its file, whoever goes on sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from handlers.adapters import jetstream
from handlers.adapters.command_places import Place
from handlers.adapters.command_stream import CommandStream
from handlers.adapters.effects import EffectFailed
from handlers.adapters.tasks import end
from handlers.bus.streams import Limits, declare
from tests.support.bus import Bus, messages_of, own_bus
from tests.support.servers import SharedStack
from tests.support.waiting import PATIENCE

PLANTED = b"planted-command-52c7"


class Commands:
    """A stream of one partition, which is decided up to `decided`."""

    def __init__(self, bus: Bus, files: Path) -> None:
        self.bus, self._files = bus, files
        self.last = self.decided = 0
        self.stream = self.swept_within(20)

    def swept_within(self, patience: float) -> CommandStream:
        bus = self.bus
        return CommandStream(bus.nc, bus.subjects, bus.streams.commands, self.places, patience=patience)

    async def send(self, body: bytes) -> None:
        subject = self.bus.subjects.command(uuid4(), "update_profile")
        self.last = (await self.bus.nc.jetstream(timeout=PATIENCE).publish(subject, body)).seq

    async def purged_before_younger_ones(self) -> None:
        """Have the planted command purged, whose bytes stay."""
        for body in (PLANTED, b"one", b"two"):
            await self.send(body)
        self.decided = 1
        await self.stream.purge()
        assert await self.left() == [b"one", b"two"]
        assert await self.found(), "the server cleans up by itself: then a sweep is not needed"

    async def left(self) -> list[bytes]:
        return [each.body for each in await messages_of(self.bus.nc, self.bus.streams.commands)]

    async def found(self) -> bool:
        return await asyncio.to_thread(self._found)

    async def never_idle(self) -> None:
        """Go on sending, and deciding all but the last."""
        while True:
            await self.send(bytes(256 * 1024))
            self.decided = self.last - 1

    def _found(self) -> bool:
        return any(PLANTED in file.read_bytes() for file in self._files.rglob("*.blk"))

    async def places(self) -> dict[int, Place]:
        info = await jetstream.stream_info(self.bus.nc, self.bus.streams.commands)
        assert info is not None
        return {0: Place(self.decided, info["created"])}


@pytest.fixture
async def commands(stack: SharedStack) -> AsyncIterator[Commands]:
    async with own_bus(stack.nats_url) as bus:
        await declare(*bus, Limits(partitions=1))
        yield Commands(bus, stack.files_of(bus.streams.commands))


async def test_what_was_purged_goes_from_the_file_when_nothing_is_on_its_way(commands: Commands) -> None:
    await commands.purged_before_younger_ones()
    commands.decided = commands.last
    await commands.stream.sweep()
    assert not await commands.found()


async def test_nothing_is_purged_behind_a_connection_that_was_lost_meanwhile(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commands.send(b"one")
    commands.decided = commands.last
    looked_up = commands.places

    async def after_a_while() -> dict[int, Place]:
        commands.bus.nc.stats["reconnects"] += 1  # in which the stream may have been put back
        return await looked_up()

    monkeypatch.setattr(commands, "places", after_a_while)
    await commands.swept_within(20).purge()
    assert await commands.left() == [b"one"]


async def test_it_goes_also_when_something_always_is(commands: Commands) -> None:
    for body in (*[bytes(256 * 1024)] * 36, PLANTED):  # much that goes before it is no sign
        await commands.send(body)
    commands.decided = commands.last
    sending = asyncio.create_task(commands.never_idle())
    try:
        await commands.stream.sweep()
        assert not await commands.found()
    finally:
        await end(sending)


async def test_commands_that_nobody_decides_hold_it_up_and_are_kept(commands: Commands) -> None:
    await commands.purged_before_younger_ones()
    with pytest.raises(EffectFailed, match="Bytes of purged commands"):
        await commands.swept_within(0.2).sweep()
    assert await commands.left() == [b"one", b"two"]
