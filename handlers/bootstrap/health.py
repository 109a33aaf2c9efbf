"""What the health of a process is asked of: both servers, by what it needs of them, and its own engines."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.beats import Beats
from handlers.bootstrap.process import Process
from handlers.http_edge.health import Down, Health
from handlers.store.errors import StoreUnavailable
from handlers.store.writable import Writable
from handlers.wire.subjects import Streams

ANSWER = 2.0
"""Seconds for JetStream's answer about a stream: then it is asked anew, maybe on another connection."""


def health_of(process: Process, started: AsyncExitStack) -> Health:
    """Return the health of a process; what it asks with ends with `started`."""
    writable = Writable(process.postgres_url)
    started.push_async_callback(writable.close)

    async def postgres() -> None:
        try:
            await writable.ask()
        except StoreUnavailable as error:
            raise Down(str(error)) from error

    async def nats() -> None:
        await _streams_there(process.nc, process.streams)

    async def engines() -> None:
        _going_round(process.beats, process.settings.standstill_after)

    health = Health({"postgres": postgres, "nats": nats, "engines": engines})
    started.push_async_callback(health.close)
    return health


async def _streams_there(nc: Client, streams: Streams) -> None:
    """Ask JetStream for each of our streams. Raises Down, JetStreamError, and nats-py's errors."""
    if not nc.is_connected:
        raise Down("no connection")
    names = (
        streams.commands,
        streams.events,
        streams.dead_letters,
        streams.context_stream,
        streams.advisories,
    )
    async with asyncio.timeout(ANSWER):
        found = await asyncio.gather(*(jetstream.stream_info(nc, name) for name in names))
    missing = [name for name, info in zip(names, found, strict=True) if info is None]
    if missing:
        raise Down(f"missing: {', '.join(missing)}")


def _going_round(beats: Beats, limit: float) -> None:
    if still := beats.standing_still(limit):
        raise Down("; ".join(f"{name} stands still for {seconds:.0f} s" for name, seconds in still.items()))
