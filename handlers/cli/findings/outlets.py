"""The outlets of the log: TENANT_EVENTS and the live context, compared with it."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.cli.findings import doors
from handlers.cli.findings.engines import HEAD
from handlers.cli.findings.finding import Finding
from handlers.relay.context_place import place_of
from handlers.store.connections import Connections
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Streams
from projections.context import FACTS


async def relay(nc: Client, streams: Streams, pool: Connections) -> Finding:
    """Compare the stream's end with the log's, twice: a relay at work moves."""
    before = await _behind(nc, streams.events, pool)
    if before:
        await asyncio.sleep(doors.QUICK / 2)
    after = await _behind(nc, streams.events, pool)
    found = f"{streams.events} is {after} events behind the store"
    if (after > 0 and after >= before) or after < 0:
        advice = (
            "Start `tenantctl serve --role relay`; its log says whether the stream needs `events rebuild`."
        )
        return Finding("relay", "broken", found, advice)
    return Finding("relay", "ok", found)


async def _behind(nc: Client, stream: str, pool: Connections) -> int:
    info = await jetstream.stream_info(nc, stream)
    last: int = info["state"]["last_seq"] if info else 0
    ((head,),) = await pool.fetch(HEAD, ())
    return head - last


async def live_context(nc: Client, streams: Streams, log: EventStore) -> Finding:
    """Look twice whether the log has anything that the bucket lacks: a relay at work moves."""
    before = await _lacking(nc, streams, log)
    if before:
        await asyncio.sleep(doors.QUICK / 2)
    after = await _lacking(nc, streams, log)
    found = f"{after} tenants have changed since the last entry was written"
    if after and after >= before:
        advice = "Start `tenantctl serve --role relay`; if one runs: `context rebuild`."
        return Finding("live context", "broken", found, advice)
    return Finding("live context", "ok", found)


async def _lacking(nc: Client, streams: Streams, log: EventStore) -> int:
    place = await place_of(nc, log, streams)
    return len(await log.latest(FACTS, place.position if place else 0, await log.head()))
