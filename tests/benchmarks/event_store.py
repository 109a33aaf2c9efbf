"""Commands written without the bus: the service's batches beside the library's own way on eight threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from handlers.store.batch import Batch, EventRow, LedgerRow
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from handlers.wire.events import Meta, encoded
from tenant_domain.tenant.decide import ref
from tenant_domain.tenant.events import ProfileUpdated
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import everything, provisioned, servers
from tests.benchmarks.stock import environment
from tests.benchmarks.table import Row, Sample, Side, compare

BATCH = 500
TENANTS = 2_000
COMMANDS = 20_000
THREADS = 8
STOCK_COMMANDS = 800
STOCK_AGGREGATES = 400


async def append(rounds: int) -> Row:
    """Compare commands a second: load, one event, one ledger row, against get and save."""
    row = Row("load + append in batches of 500", "/s", "≥ 50", "eventsourcing get+save, 8 threads")
    async with servers() as stack:
        postgres_url, postgres_pid = stack.endpoints.postgres_url, stack.endpoints.postgres_pid
        await migrate(postgres_url, partitions=1)
        async with _ours(postgres_url, postgres_pid) as ours:
            return await compare(row, ours, _stock(postgres_url, postgres_pid), rounds)


@asynccontextmanager
async def _ours(postgres_url: str, postgres_pid: int) -> AsyncGenerator[Side]:
    tenants = await provisioned(postgres_url, TENANTS)
    async with EventStore(postgres_url) as store:

        async def once() -> Sample:
            with measured(everything([postgres_pid])) as usage:
                for start in range(0, COMMANDS, BATCH):
                    first = start % TENANTS
                    await _one_batch(store, tenants[first : first + BATCH])
            return Sample(COMMANDS / usage.wall, usage.cpu / COMMANDS, usage.foreign)

        yield once


async def _one_batch(store: EventStore, tenants: list[UUID]) -> None:
    loaded = await store.load([ref(tenant) for tenant in tenants])
    batch = Batch()
    for group, tenant in enumerate(tenants):
        updated = ProfileUpdated(tenant_name=f"Acme {group}")
        body = encoded(updated, Meta())
        batch.events.append(EventRow(tenant, tenant, loaded[tenant].version + 1, updated.name, body, group))
        batch.ledger.append(LedgerRow(tenant, uuid4(), bytes(16), b'{"status":"completed"}', True, 1, group))
    assert not (await store.append(batch)).dropped


class _Account(Aggregate):
    @event("Renamed")
    def rename(self, name: str) -> None:
        self.name = name


def _stock(postgres_url: str, postgres_pid: int) -> Side:
    application = Application[UUID](env=environment(postgres_url, THREADS))
    accounts = [_Account() for _ in range(STOCK_AGGREGATES)]
    for account in accounts:
        application.save(account)

    def work(thread: int) -> None:
        mine = accounts[thread::THREADS]
        for count in range(STOCK_COMMANDS // THREADS):
            account: _Account = application.repository.get(mine[count % len(mine)].id)
            account.rename(f"Acme {count}")
            application.save(account)

    async def once() -> Sample:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as threads, measured(everything([postgres_pid])) as usage:
            await asyncio.gather(*(loop.run_in_executor(threads, work, each) for each in range(THREADS)))
        return Sample(STOCK_COMMANDS / usage.wall, usage.cpu / STOCK_COMMANDS, usage.foreign)

    return once
