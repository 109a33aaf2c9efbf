"""Whose streams these are: those of another log are refused, whatever they hold."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.bus import marks
from handlers.bus.marks import ForeignStreams, mark_of, settle
from handlers.bus.streams import Limits, declare
from handlers.store.identity import LogIdentity
from tests.support.bus import Bus, own_bus
from tests.support.servers import SharedStack

OURS = LogIdentity("ours", system=1, timeline=2)


@pytest.fixture
async def bus(stack: SharedStack) -> AsyncIterator[Bus]:
    async with own_bus(stack.nats_url) as own:
        await declare(*own, Limits(partitions=1))
        yield own


async def settled(bus: Bus, identity: LogIdentity, *, holds: bool) -> None:
    async def held(_: Json) -> bool:
        return holds

    streams = bus.streams
    await settle(bus.nc, streams.events, [streams.commands, streams.events], identity, held)


async def marked(bus: Bus) -> list[LogIdentity | None]:
    infos = [await jetstream.stream_info(bus.nc, name) for name in (bus.streams.commands, bus.streams.events)]
    return [None if info is None else mark_of(info) for info in infos]


async def test_streams_of_this_log_carry_its_mark(bus: Bus) -> None:
    await settled(bus, OURS, holds=True)
    assert await marked(bus) == [OURS, OURS]


@pytest.mark.parametrize("which", [0, 1], ids=["commands", "events"])
async def test_streams_of_another_log_are_refused_by_name_and_left_as_they_are(bus: Bus, which: int) -> None:
    name = (bus.streams.commands, bus.streams.events)[which]
    theirs = OURS._replace(log="theirs")
    await marks.adopt(bus.nc, [name], theirs)
    before = await marked(bus)
    with pytest.raises(ForeignStreams, match=f"{name} belongs to the log theirs.*holds the log ours"):
        await settled(bus, OURS, holds=True)
    assert await marked(bus) == before


@pytest.mark.parametrize(
    "mark",
    [None, OURS._replace(system=9), OURS._replace(timeline=3)],
    ids=["no mark", "a copy on another server", "a later line"],
)
async def test_what_may_be_another_log_is_compared_before_it_is_ours(
    bus: Bus, mark: LogIdentity | None
) -> None:
    if mark is not None:
        await marks.adopt(bus.nc, [bus.streams.events], mark)
    with pytest.raises(ForeignStreams, match=bus.streams.events):
        await settled(bus, OURS, holds=False)
    await settled(bus, OURS, holds=True)
    assert await marked(bus) == [OURS, OURS]


async def test_a_promoted_server_of_the_same_line_goes_on_without_a_comparison(bus: Bus) -> None:
    await settled(bus, OURS, holds=True)
    promoted = OURS._replace(timeline=3)
    await settled(bus, promoted, holds=False)
    assert await marked(bus) == [promoted, promoted]
