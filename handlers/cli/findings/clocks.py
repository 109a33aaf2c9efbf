"""Clocks: leases and due times are PostgreSQL's, tokens are this host's, and messages have NATS' time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.cli.findings.finding import Finding
from handlers.store.connections import Connections

APART = 1.0
"""Seconds that two clocks may differ: tokens and leases hold for a few."""

Clock = Callable[[], Awaitable[datetime]]


async def postgres(pool: Connections) -> Finding:
    """Compare PostgreSQL's clock with this host's."""

    async def now() -> datetime:
        ((at,),) = await pool.fetch(b"SELECT clock_timestamp()", ())
        return at

    return await _compared("clock of postgres", now)


async def nats(nc: Client, stream: str) -> list[Finding]:
    """Compare the clock of nats-server with this host's, by what it says of a stream, if that is there."""
    if await jetstream.stream_info(nc, stream) is None:
        return []

    async def now() -> datetime:
        return datetime.fromisoformat((await jetstream.call(nc, f"STREAM.INFO.{stream}"))["ts"])

    return [await _compared("clock of nats", now)]


async def _compared(what: str, clock: Clock) -> Finding:
    before = datetime.now(UTC)
    there = await clock()
    after = datetime.now(UTC)
    # Somewhere between the question and the answer: what lies outside of that is a difference.
    apart = max((there - after).total_seconds(), (before - there).total_seconds(), 0.0)
    if apart <= APART:
        return Finding(what, "ok", f"at most {APART:g} s from this host's")
    found = f"{apart:.1f} s {'ahead of' if there > after else 'behind'} this host's"
    return Finding(what, "look", found, "Let NTP keep the clocks of all hosts.")
