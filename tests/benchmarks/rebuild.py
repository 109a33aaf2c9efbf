"""A read model built anew from the log, beside the least that reading and decoding it all costs."""

from __future__ import annotations

from collections import Counter

import msgspec
import psycopg

from handlers.projector.rebuild import rebuild
from handlers.store.connections import Connections
from projections import tenants
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import everything, provisioned, servers, service
from tests.benchmarks.table import Row, Sample, compare

TENANTS = 30_000
EVENTS = 2 * TENANTS


async def events(rounds: int) -> Row:
    """Compare events a second: the model `tenants` with its tables, indexes and swap, and a bare count."""
    row = Row("rebuild of `tenants`", "/s", "(100k/s)", "read, decode, count in Python")
    async with servers() as stack, service(stack.endpoints, [("projections",)]) as running:
        postgres_url = stack.endpoints.postgres_url
        await provisioned(postgres_url, TENANTS)
        connections = Connections(
            postgres_url, readers=4, statement_timeout=60, lock_timeout=60, idle_timeout=60, pool_timeout=60
        )
        await connections.open()

        async def ours() -> Sample:
            with measured(everything(running.pids)) as usage:
                rebuilt = await rebuild(postgres_url, connections, tenants.MODEL)
            assert rebuilt.events == EVENTS, rebuilt
            return Sample(EVENTS / usage.wall, usage.cpu / EVENTS, usage.foreign)

        async def theirs() -> Sample:
            with measured(everything(running.pids)) as usage:
                assert await _counted(postgres_url) == EVENTS
            return Sample(EVENTS / usage.wall, usage.cpu / EVENTS, usage.foreign)

        try:
            return await compare(row, ours, theirs, rounds)
        finally:
            await connections.close()


async def _counted(postgres_url: str) -> int:
    """Fold the log in the simplest way there is: how many events of each name, how often a tenant's name."""
    counts = Counter[str]()
    async with (
        await psycopg.AsyncConnection.connect(postgres_url) as database,
        database.cursor("log", binary=True) as cursor,
    ):
        cursor.itersize = 20_000
        await cursor.execute("SELECT topic, state FROM service.events ORDER BY notification_id")
        async for topic, state in cursor:
            msgspec.json.decode(state)
            counts[topic] += 1
    return counts.total()
