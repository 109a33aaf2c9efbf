"""Leases outlast a server's clock that jumps: who lives keeps what it holds, and who is dead does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from handlers.adapters.command_places import Place
from handlers.adapters.standstill import Standstill
from handlers.bus.intake.claims import Claims
from handlers.saga_runner.agenda import Agenda
from handlers.saga_runner.lease import Lease
from handlers.store.migrate import migrate
from tests.support.waiting import soon, until

LEASE = timedelta(seconds=0.6)
HOURS = [timedelta(hours=1), timedelta(hours=-1)]


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    await migrate(store_url)
    async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as connection:
        yield connection


async def jump(database: psycopg.AsyncConnection, table: str, by: timedelta) -> None:
    """Leave the leases as a clock would that was so far ahead when they were renewed last."""
    await database.execute(f"UPDATE service.{table} SET lease_until = lease_until + %s".encode(), (by,))


async def a_run_of(database: psycopg.AsyncConnection, owner: UUID) -> UUID:
    run = uuid4()
    await database.execute(
        "INSERT INTO service.saga_agenda (operation_id, tenant_id, kind, due_at, owner)"
        " VALUES (%s, %s, 'provisioning', now(), %s)",
        (run, uuid4(), owner),
    )
    return run


async def taken(agenda: Agenda, owner: UUID) -> set[UUID]:
    """Return which runs a worker finds free."""
    await agenda.free(owner, [])
    return {due.operation_id for due in await agenda.take(owner, datetime.now(UTC), 10, 8)}


@pytest.mark.parametrize("by", HOURS)
@pytest.mark.parametrize("dies", [True, False])
async def test_runs_of_a_worker_that_renews_no_more_are_taken_over_whatever_its_lease_says(
    database: psycopg.AsyncConnection, store_url: str, by: timedelta, dies: bool
):
    first, second = Agenda(store_url, LEASE), Agenda(store_url, LEASE)
    silent, heir = uuid4(), uuid4()
    await first.register(silent)
    await second.register(heir)
    run = await a_run_of(database, silent)
    await jump(database, "saga_workers", by)
    if dies:
        await first.close()
    try:

        async def took() -> bool:
            return run in await taken(second, heir)

        await until(took)
    finally:
        await first.close()
        await second.close()


async def test_who_has_lost_its_connection_does_not_act_before_it_has_renewed(
    database: psycopg.AsyncConnection, store_url: str
):
    long = timedelta(hours=1)
    agenda = Agenda(store_url, long)
    lease = Lease(agenda, long, uuid4)
    try:
        await lease.begin()
        await soon(lease.held())
        await database.execute("SELECT pg_terminate_backend(pid) FROM service.saga_workers")

        async def noticed() -> bool:
            return not agenda.standing

        await until(noticed)
        acting = asyncio.create_task(lease.held())
        await asyncio.sleep(0.05)
        assert not acting.done()
        assert await lease.renew()
        await soon(acting)
    finally:
        await agenda.close()


@pytest.mark.parametrize("by", HOURS)
async def test_a_worker_that_renews_keeps_its_runs_whatever_the_clock_says(
    database: psycopg.AsyncConnection, store_url: str, by: timedelta
):
    first, second = Agenda(store_url, LEASE), Agenda(store_url, LEASE)
    living, other = uuid4(), uuid4()
    await first.register(living)
    await second.register(other)
    run = await a_run_of(database, living)
    try:
        for _ in range(60):
            assert await first.renew(living)
            await jump(database, "saga_workers", by)
            assert run not in await taken(second, other)
            await asyncio.sleep(0.02)
    finally:
        await first.close()
        await second.close()


@pytest.mark.parametrize("by", HOURS)
async def test_partitions_of_a_worker_that_hangs_are_taken_over_whatever_its_lease_says(
    database: psycopg.AsyncConnection, store_url: str, by: timedelta
):
    hanging = Claims(store_url, uuid4(), lease=LEASE.total_seconds())
    heir = Claims(store_url, uuid4(), lease=LEASE.total_seconds())
    try:
        everything = len((await hanging.claim()).held)
        await jump(database, "command_workers", by)

        async def took() -> bool:
            return len((await heir.claim()).held) == everything

        await until(took)
    finally:
        await heir.close()
        await hanging.close()


async def test_a_worker_keeps_its_partitions_as_long_as_it_renews(
    database: psycopg.AsyncConnection, store_url: str
):
    living = Claims(store_url, uuid4(), lease=LEASE.total_seconds())
    other = Claims(store_url, uuid4(), lease=LEASE.total_seconds())
    try:
        await living.claim()
        for _ in range(60):
            await jump(database, "command_workers", -timedelta(hours=1))
            assert not (await other.claim()).held
            assert (await living.claim()).held
            await asyncio.sleep(0.02)
    finally:
        await other.close()
        await living.close()


async def test_a_partition_is_moved_by_its_owner_alone_and_from_where_it_is(
    database: psycopg.AsyncConnection, store_url: str
):
    owner, other = Claims(store_url, uuid4()), Claims(store_url, uuid4())
    here, there = Place(0, None), Place(5, None)
    try:
        [partition, *_] = (await owner.claim()).held
        assert not await other.move(partition, here, there)
        assert not await owner.move(partition, there, here)
        assert await owner.move(partition, here, there)
        assert await owner.places([partition]) == {partition: there}
    finally:
        await owner.close()
        await other.close()


async def test_nobody_holds_the_sharing_out_up_by_a_lock_that_any_role_may_take(
    database: psycopg.AsyncConnection, store_url: str
):
    await database.execute("SELECT pg_advisory_lock(hashtextextended('service.claim_partitions', 0))")
    claims = Claims(store_url, uuid4())
    try:
        assert (await claims.claim()).held
    finally:
        await claims.close()


def test_time_in_which_nobody_could_look_does_not_count():
    now = 0.0
    others = Standstill[str](1.0, lambda: now)
    assert others.look({"a": 1, "b": 1}) == {"a": 0.0, "b": 0.0}
    now = 60.0  # the database was away for a minute
    assert others.look({"a": 1, "b": 2}) == {"a": 1.0, "b": 0.0}
    now = 60.5
    assert others.look({"a": 1, "b": 2, "c": 1}) == {"a": 1.5, "b": 0.5, "c": 0.0}
