"""Commands written without the bus: the service's batches beside the library's ways.

Each command finds its tenant's state, is decided on it by the domain, and is written with its event and its
row in the ledger. Ours are there as a door hands them on, decoded and with their ids, and states are where a
worker has them, in the write-through cache (the round that does not count fills it); the library reads its
aggregate's events for each, as it does by itself, or, in its best batching, keeps the aggregates and saves as
many in one transaction as we do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from handlers.garbage import collect_rarely
from handlers.store.batch import Batch, EventRow, LedgerRow
from handlers.store.cache import StreamCache
from handlers.store.event_store import EventStore, Loaded
from handlers.store.migrate import migrate
from handlers.wire.events import Meta, encoded
from handlers.wire.outcomes import completed
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Context, World
from tenant_domain.tenant.commands import UpdateProfile
from tenant_domain.tenant.decide import ref, update_profile
from tenant_domain.tenant.state import evolve
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import everything, provisioned, servers
from tests.benchmarks.stock import environment
from tests.benchmarks.table import Row, Sample, Side, compare

BATCH = 500
WRITERS = 2
"""Connections that append: as many as a machine of two cores has command workers."""
TENANTS = 2_000
COMMANDS = 20_000
THREADS = 8
STOCK_COMMANDS = 800
STOCK_AGGREGATES = 400
BATCHED_COMMANDS = 4_000


async def append(rounds: int) -> Row:
    """Compare commands a second with get and save."""
    row = Row(f"decided + appended by {BATCH}", "/s", "≥ 50", f"eventsourcing get+save, {THREADS} threads")
    async with _both() as (ours, stock, _):
        return await compare(row, ours, stock, rounds)


async def batches(rounds: int) -> Row:
    """Compare commands a second with the library's best batching."""
    row = Row("the same", "/s", "≥ 5", f"eventsourcing, saved by {BATCH}")
    async with _both() as (ours, _, batched):
        return await compare(row, ours, batched, rounds)


@asynccontextmanager
async def _both() -> AsyncGenerator[tuple[Side, Side, Side]]:
    async with servers() as stack:
        postgres_url, postgres_pid = stack.endpoints.postgres_url, stack.endpoints.postgres_pid
        await migrate(postgres_url, partitions=1)
        collect_rarely()  # as the service's processes do; both sides run in this one
        async with _ours(postgres_url, postgres_pid) as ours:
            application = Application[UUID](env=environment(postgres_url, THREADS))
            try:
                yield ours, _stock(application, postgres_pid), _batched(application, postgres_pid)
            finally:
                application.close()


@asynccontextmanager
async def _ours(postgres_url: str, postgres_pid: int) -> AsyncGenerator[Side]:
    tenants = await provisioned(postgres_url, TENANTS)
    async with AsyncExitStack() as opened:
        writers = [
            _Writer(await opened.enter_async_context(EventStore(postgres_url)), tenants[number::WRITERS])
            for number in range(WRITERS)
        ]

        async def once() -> Sample:
            waiting = [writer.arrived(COMMANDS // WRITERS) for writer in writers]
            with measured(everything([postgres_pid])) as usage:
                await asyncio.gather(*map(_Writer.write, writers, waiting))
            return Sample(COMMANDS / usage.wall, usage.cpu / COMMANDS, usage.foreign)

        yield once


class _Command(NamedTuple):
    tenant: UUID
    id: UUID
    form: UpdateProfile


class _Writer:
    """Writes commands for tenants of its own, as a worker does for those of its partitions."""

    def __init__(self, store: EventStore, tenants: list[UUID]) -> None:
        self._store = store
        self._tenants = tenants
        self._cache = StreamCache()
        self._numbers = count()
        self._policy = Policy()

    def arrived(self, number: int) -> list[_Command]:
        """Return so many commands, for each tenant in turn."""
        return [
            _Command(self._tenants[each % len(self._tenants)], uuid4(), UpdateProfile(name=f"Acme {name}"))
            for each, name in zip(range(number), self._numbers, strict=False)
        ]

    async def write(self, commands: list[_Command]) -> None:
        """Write commands in batches."""
        for start in range(0, len(commands), BATCH):
            await self._one_batch(commands[start : start + BATCH])

    async def _one_batch(self, commands: list[_Command]) -> None:
        unknown = [ref(command.tenant) for command in commands if self._cache.get(command.tenant) is None]
        self._cache.put(await self._store.load(unknown))
        now = datetime.now(UTC)
        batch, after = Batch(), dict[UUID, Loaded]()
        for group, command in enumerate(commands):
            after[command.tenant] = self._decide(batch, group, command, now)
        assert not (await self._store.append(batch)).dropped
        self._cache.put(after)

    def _decide(self, batch: Batch, group: int, command: _Command, now: datetime) -> Loaded:
        tenant, command_id, form = command
        known = self._cache.get(tenant)
        assert known is not None
        state, version = known
        context = Context(tenant, now, command_id, None, self._policy)
        for _, fact in update_profile(form, World({tenant: state}), context).events:
            version += 1
            state = evolve(state, fact)
            batch.events.append(EventRow(tenant, tenant, version, fact.name, encoded(fact, Meta()), group))
        outcome = completed(command_id, tenant, version, None, {})
        batch.ledger.append(LedgerRow(tenant, command_id, bytes(16), outcome, True, 1, group))
        return Loaded(state, version)


class _Account(Aggregate):
    @event("Renamed")
    def rename(self, name: str) -> None:
        self.name = name


def _stock(application: Application[UUID], postgres_pid: int) -> Side:
    accounts = [_Account() for _ in range(STOCK_AGGREGATES)]
    for account in accounts:
        application.save(account)

    def work(thread: int) -> None:
        mine = accounts[thread::THREADS]
        for number in range(STOCK_COMMANDS // THREADS):
            account: _Account = application.repository.get(mine[number % len(mine)].id)
            account.rename(f"Acme {number}")
            application.save(account)

    async def once() -> Sample:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as threads, measured(everything([postgres_pid])) as usage:
            await asyncio.gather(*(loop.run_in_executor(threads, work, each) for each in range(THREADS)))
        return Sample(STOCK_COMMANDS / usage.wall, usage.cpu / STOCK_COMMANDS, usage.foreign)

    return once


def _batched(application: Application[UUID], postgres_pid: int) -> Side:
    accounts = [_Account() for _ in range(TENANTS)]
    application.save(*accounts)

    def work() -> None:
        for start in range(0, BATCHED_COMMANDS, BATCH):
            batch = [accounts[each % TENANTS] for each in range(start, start + BATCH)]
            for account in batch:
                account.rename(f"Acme {start}")
            application.save(*batch)

    async def once() -> Sample:
        with measured(everything([postgres_pid])) as usage:
            await asyncio.to_thread(work)
        return Sample(BATCHED_COMMANDS / usage.wall, usage.cpu / BATCHED_COMMANDS, usage.foreign)

    return once
