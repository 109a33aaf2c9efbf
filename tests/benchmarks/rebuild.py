"""A read model built anew from the log: beside the least that reading it costs, and beside the library."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import psycopg

from deploy.embedded import Endpoints
from handlers.projector.rebuild import rebuild
from handlers.store.connections import Connections
from projections import tenants
from tests.benchmarks import stock
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import everything, provisioned, servers, service
from tests.benchmarks.table import Row, Sample, Side, compare

TENANTS = 30_000
EVENTS = 2 * TENANTS
STOCK_ACCOUNTS = 2_000


async def events(rounds: int) -> Row:
    """Compare events a second: the model `tenants` with its tables, indexes and swap, and a bare count."""
    row = Row("rebuild of `tenants`", "/s", "(100k/s)", "read, decode, count in Python")
    async with servers() as stack, _ours(stack.endpoints) as (ours, pids):

        async def theirs() -> Sample:
            with measured(everything(pids)) as usage:
                assert await _counted(stack.endpoints.postgres_url) == EVENTS
            return Sample(EVENTS / usage.wall, usage.cpu / EVENTS, usage.foreign)

        return await compare(row, ours, theirs, rounds)


async def beside_stock(rounds: int) -> Row:
    """Compare events a second with the library's ProjectionRunner on a log and a read model of its own."""
    row = Row("rebuild of `tenants`", "/s", "≥ 25", "eventsourcing ProjectionRunner")
    async with servers() as stack, _ours(stack.endpoints) as (ours, pids):
        postgres_url = stack.endpoints.postgres_url
        last = await asyncio.to_thread(stock.written, postgres_url, STOCK_ACCOUNTS)

        async def theirs() -> Sample:
            with measured(everything(pids)) as usage:
                await stock.projected(postgres_url, last)
            return Sample(last / usage.wall, usage.cpu / last, usage.foreign)

        return await compare(row, ours, theirs, rounds)


@asynccontextmanager
async def _ours(endpoints: Endpoints) -> AsyncGenerator[tuple[Side, list[int]]]:
    """Run the projections on a log of tenants; gives a rebuild beside them, and the service's processes."""
    async with service(endpoints, [("projections",)]) as running:
        postgres_url = endpoints.postgres_url
        await provisioned(postgres_url, TENANTS)
        connections = Connections(
            postgres_url, readers=4, statement_timeout=60, lock_timeout=60, idle_timeout=60, pool_timeout=60
        )
        await connections.open()

        async def once() -> Sample:
            with measured(everything(running.pids)) as usage:
                rebuilt = await rebuild(postgres_url, connections, tenants.MODEL)
            assert rebuilt.events == EVENTS, rebuilt
            return Sample(EVENTS / usage.wall, usage.cpu / EVENTS, usage.foreign)

        try:
            yield once, running.pids
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
