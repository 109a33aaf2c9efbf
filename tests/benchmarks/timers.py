"""Runs that sleep: what a hundred thousand cost, and how soon ten thousand start that are due at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import nats
import psycopg
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from handlers.adapters.effects import Work
from handlers.saga_runner.role import SagasRole
from handlers.store.batch import AgendaRow, Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from handlers.wire.events import Meta, encoded
from handlers.wire.subjects import Subjects
from sagas.definition import Deed, Saga, Step
from sagas.registry import SAGAS
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Event
from tenant_domain.operation import decide as operation
from tenant_domain.tenant.events import AdminContact, ProvisioningStarted
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import everything, servers, until
from tests.benchmarks.table import Row, Sample, compare

SLEEPING = 100_000
AT_ONCE = 10_000
LOOK = 5.0
"""Seconds for which an idle worker is watched."""


async def sleeping(rounds: int) -> Row:
    """Compare the CPU of a worker with 100,000 sleeping runs with that of one with none."""
    row = Row(
        f"idle worker, {SLEEPING:,} runs asleep", "ms CPU/s", "(next to nothing)", "idle worker, none asleep"
    )
    async with servers() as stack, _house(stack.endpoints.postgres_url, stack.endpoints.nats_url) as house:
        pids = everything([stack.endpoints.nats_pid, stack.endpoints.postgres_pid])
        async with house.role():

            async def idle(runs: int) -> Sample:
                await house.fill(runs)
                await asyncio.sleep(1.0)
                with measured(pids) as usage:
                    await asyncio.sleep(LOOK)
                return Sample(1000 * usage.cpu / usage.wall, None, usage.foreign)

            return await compare(row, lambda: idle(SLEEPING), lambda: idle(0), rounds)


async def due_at_once(rounds: int) -> Row:
    """Tell how many seconds pass until all have begun their step; the reference is one second."""
    row = Row(f"{AT_ONCE:,} sleeping runs due at once, until all have started", "s", "(≤ 2 s)", "1 s")
    async with servers() as stack, _house(stack.endpoints.postgres_url, stack.endpoints.nats_url) as house:
        pids = everything([stack.endpoints.nats_pid, stack.endpoints.postgres_pid])
        async with house.role():

            async def ours() -> Sample:
                begun = await house.begin(AT_ONCE, datetime.now(UTC) + timedelta(seconds=5))
                await asyncio.sleep((begun - datetime.now(UTC)).total_seconds())
                with measured(pids) as usage:
                    await until(house.all_have_started)
                await until(house.quiet)
                return Sample(usage.wall, usage.cpu / AT_ONCE, usage.foreign)

            async def theirs() -> Sample:
                return Sample(1.0)

            return await compare(row, ours, theirs, rounds)


class _House:
    """A worker on real servers whose one saga has one step with an effect, and the runs it is given."""

    def __init__(self, url: str, store: EventStore, client: Client) -> None:
        self._url, self._store, self._nats = url, store, client
        self._goal = self._started = 0

    @asynccontextmanager
    async def role(self) -> AsyncGenerator[None]:
        """Run the worker, as it is set by default."""
        saga = Saga("provisioning", (Step("act", outside=Deed("act")),), SAGAS["provisioning"].undone)

        async def act(_: Work) -> None:
            self._started += 1

        role = SagasRole(
            postgres_url=self._url,
            store=self._store,
            nats=self._nats,
            subjects=Subjects(),
            effects={"act": act},
            policy=Policy(),
            registry=CollectorRegistry(),
            sagas={"provisioning": saga},
        )
        await role.start()
        try:
            yield
        finally:
            await role.stop()

    async def fill(self, runs: int) -> None:
        """Let exactly so many runs sleep for a year."""
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute("TRUNCATE service.saga_agenda")
            await connection.execute(
                "INSERT INTO service.saga_agenda (operation_id, tenant_id, kind, due_at) SELECT"
                " gen_random_uuid(), gen_random_uuid(), 'provisioning', now() + interval '1 year'"
                " FROM generate_series(1, %s)",
                (runs,),
            )
            await connection.execute("VACUUM ANALYZE service.saga_agenda")

    async def begin(self, runs: int, due: datetime) -> datetime:
        """Begin runs of as many tenants that are all due at a time, and return it."""
        self._goal = self._started + runs
        for first in range(0, runs, 500):
            batch = Batch()
            for group in range(min(500, runs - first)):
                _add(batch, group, due)
            assert not (await self._store.append(batch)).dropped
        assert datetime.now(UTC) < due, "the runs were to be asleep"
        return due

    async def all_have_started(self) -> bool:
        """Return whether every run has begun its step."""
        return self._started >= self._goal

    async def quiet(self) -> bool:
        """Return whether every run has ended."""
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            cursor = await connection.execute("SELECT count(*) FROM service.saga_agenda")
            row = await cursor.fetchone()
            return row == (0,)


def _add(batch: Batch, group: int, due: datetime) -> None:
    tenant_id, run = uuid4(), uuid4()
    born = ProvisioningStarted(
        operation_id=str(run),
        tenant_name="Acme",
        subdomain=f"t-{tenant_id.hex}",
        plan="free",
        region="eu-central",
        admin=AdminContact(email="ada@example.com", name="Ada"),
    )
    started = operation.start(run, tenant_id, "provisioning", ("act",), {}, datetime.now(UTC)).event
    facts: tuple[tuple[UUID, Event], ...] = ((tenant_id, born), (run, started))
    for stream, event in facts:
        batch.events.append(EventRow(tenant_id, stream, 1, event.name, encoded(event, Meta()), group))
    batch.agenda.append(AgendaRow(run, tenant_id, "provisioning", due, None, group))


@asynccontextmanager
async def _house(postgres_url: str, nats_url: str) -> AsyncGenerator[_House]:
    await migrate(postgres_url)
    client = await nats.connect(nats_url)
    try:
        async with EventStore(postgres_url) as store:
            yield _House(postgres_url, store, client)
    finally:
        await client.close()
