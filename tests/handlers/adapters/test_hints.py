"""Hints of commits: heard once a process, and told together under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from handlers.adapters.hints import CommitListener, CommitTeller
from handlers.adapters.pace import Pace
from handlers.bus.connection import flush
from tests.support.bus import Bus, own_bus
from tests.support.waiting import within

INTERVAL = 10.0


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection with names of the test's own."""
    async with own_bus(nats_url) as own:
        yield own


def test_after_a_pause_a_few_turns_come_at_once_and_then_one_an_interval() -> None:
    pace = Pace(INTERVAL, burst=3)
    assert [max(0.0, pace.take(1000.0)) for _ in range(5)] == [0.0, 0.0, 0.0, 10.0, 20.0]
    assert pace.take(1050.0) <= 0, "the turns that were taken are over, and one more has come"
    assert [max(0.0, pace.take(2000.0)) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]


async def test_a_process_hears_each_hint_once_for_all_that_listen(bus: Bus) -> None:
    subject = bus.subjects.hint("committed")
    commits = CommitListener(bus.nc, subject)
    first, second = list[bytes](), list[bytes]()
    async with commits.heard_by(first.append):
        async with commits.heard_by(second.append):
            before = bus.nc.stats["in_msgs"]
            await bus.nc.publish(subject, b"1")
            await flush(bus.nc)
            assert bus.nc.stats["in_msgs"] - before == 1
        await bus.nc.publish(subject, b"2")
        await flush(bus.nc)
    await bus.nc.publish(subject, b"3")
    await flush(bus.nc)
    assert (first, second) == ([b"1", b"2"], [b"1"])


async def test_the_last_of_many_commits_is_told_of_and_not_each_one(bus: Bus) -> None:
    subject = bus.subjects.hint("committed")
    told, last = list[bytes](), asyncio.Event()

    def heard(hint: bytes) -> None:
        told.append(hint)
        if hint == b"1000":
            last.set()

    teller = CommitTeller(bus.nc, subject)
    async with CommitListener(bus.nc, subject).heard_by(heard), within("the last hint"):
        await teller.start()
        for head in range(1, 1001):
            teller.moved(head)
            await asyncio.sleep(0)
        await last.wait()
        await teller.stop()
    assert told == sorted(told, key=int)
    assert len(told) < 1000
