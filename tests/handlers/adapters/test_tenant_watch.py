"""The watch over tenants' sessions and roles: what PostgreSQL lets everybody do does not last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from handlers.adapters.effects import Work
from handlers.adapters.schemas import schema_of
from handlers.adapters.tenant_watch import TenantWatch, WatchLimits
from tests.handlers.adapters.tenant_database import Database
from tests.handlers.adapters.works import KEY
from tests.support.servers import SharedStack
from tests.support.waiting import PATIENCE, within

SOON = WatchLimits(transaction=0.5, idle=0.5, interval=0.05)
LATER = WatchLimits(transaction=3600.0, idle=0.5, interval=0.05)


@asynccontextmanager
async def watching(database: Database, limits: WatchLimits = SOON) -> AsyncGenerator[CollectorRegistry]:
    registry = CollectorRegistry()
    watch = TenantWatch(database.connect, KEY, registry, limits)
    await watch.start()
    yield registry
    await watch.stop()


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something holds."""
    for _ in range(int(PATIENCE / 0.05)):
        if await holds():
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"{what} did not come about within {PATIENCE} s")


async def counted(registry: CollectorRegistry, name: str, **labels: str) -> None:
    """Wait until the watch has counted one."""

    async def is_one() -> bool:
        return registry.get_sample_value(name, labels) == 1

    await until(is_one, name)


async def ended(door: psycopg.AsyncConnection[Any]) -> None:
    """Wait until the server has ended a session that waits for nothing."""
    async with within("the end of the session"):
        with pytest.raises(psycopg.OperationalError):
            async for _ in door.notifies():
                pass


async def unlimited(door: psycopg.AsyncConnection[Any]) -> None:
    """Lift all limits that a session may lift."""
    for limit in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
        await door.execute(f"SET {limit} = 0".encode())


async def test_a_session_that_idles_in_a_transaction_is_ended(
    database: Database, door: psycopg.AsyncConnection[Any]
):
    await unlimited(door)
    await door.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await door.execute("SELECT count(*) FROM settings")
    async with watching(database, LATER) as registry:
        await ended(door)
        await counted(registry, "tenants_database_sessions_ended_total", why="idle in transaction")


async def test_a_statement_without_an_end_is_ended(database: Database, door: psycopg.AsyncConnection[Any]):
    await unlimited(door)
    async with watching(database) as registry:
        async with within("the end of the transaction"):
            with pytest.raises(psycopg.OperationalError):
                await door.execute("SELECT pg_sleep(3600)")
        await counted(registry, "tenants_database_sessions_ended_total", why="transaction")


async def test_a_session_that_holds_no_transaction_stays(
    database: Database, tenant: Work, door: psycopg.AsyncConnection[Any], other: Work
):
    async with watching(database), await database.log_in(other.tenant_id) as holding:
        await holding.execute("BEGIN")
        await ended(holding)
        await door.execute("SELECT count(*) FROM users")


async def test_a_session_that_keeps_a_file_beyond_its_transaction_is_ended(
    database: Database, door: psycopg.AsyncConnection[Any]
):
    await door.execute("BEGIN")
    await door.execute(
        "DECLARE kept CURSOR WITH HOLD FOR SELECT repeat('x', 1000000) FROM generate_series(1, 20)"
    )
    await door.execute("COMMIT")
    async with watching(database) as registry:
        await ended(door)
        await counted(registry, "tenants_database_sessions_ended_total", why="temporary file")


async def test_without_rights_on_all_sessions_the_roles_are_lent(
    stack: SharedStack, database: Database, door: psycopg.AsyncConnection[Any]
):
    rights = "pg_read_all_stats, pg_signal_backend"
    await stack.as_superuser(database.url, f"REVOKE {rights} FROM service")
    try:
        await unlimited(door)
        await door.execute("BEGIN")
        async with watching(database):
            await ended(door)
    finally:
        await stack.as_superuser(database.url, f"GRANT {rights} TO service")
    lent = await database.sql(
        "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
        " WHERE m.member = current_user::regrole AND r.rolname ~ '^t_'"
    )
    assert lent == [(0,)]


async def test_a_password_that_the_tenant_changed_is_put_back(
    database: Database, tenant: Work, door: psycopg.AsyncConnection[Any]
):
    name = schema_of(tenant.tenant_id)
    await door.execute(f"ALTER ROLE {name} PASSWORD 'mine-from-now-on'".encode())
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await database.log_in(tenant.tenant_id)
    async with watching(database) as registry:
        await _until_let_in(database, tenant)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            await psycopg.AsyncConnection.connect(database.url, user=name, password="mine-from-now-on")
        await counted(registry, "tenants_database_roles_restored_total")


async def test_settings_that_the_tenant_gave_its_role_are_taken_away(
    database: Database, tenant: Work, door: psycopg.AsyncConnection[Any]
):
    name = schema_of(tenant.tenant_id)
    await door.execute(f"ALTER ROLE {name} SET statement_timeout = 0".encode())
    await door.execute(f"ALTER ROLE {name} SET work_mem = '2GB'".encode())

    async def are_gone() -> bool:
        return not await database.sql(
            "SELECT setrole FROM pg_db_role_setting WHERE setrole = %s::regrole", name
        )

    async with watching(database):
        await until(are_gone, "the end of the role's settings")
    async with await database.log_in(tenant.tenant_id) as again:
        row = await (await again.execute("SHOW statement_timeout")).fetchone()
    assert row == ("30s",)


async def test_the_role_of_an_older_tenant_is_noted_and_put_back_once(database: Database, tenant: Work):
    await database.sql("DELETE FROM service.tenant_roles")
    async with watching(database) as registry:
        await counted(registry, "tenants_database_roles_restored_total")
        await _until_let_in(database, tenant)
    assert await database.sql("SELECT role_oid FROM service.tenant_roles WHERE role_xid <> '0'")


async def test_closing_and_opening_is_no_change_of_the_tenants(database: Database, tenant: Work):
    await database.access.close(tenant)
    registry = CollectorRegistry()
    watch = TenantWatch(database.connect, KEY, registry, SOON)
    async with database.connect() as connection:
        await watch.look(connection)
    await database.access.open(tenant)
    again = TenantWatch(database.connect, KEY, CollectorRegistry(), SOON)
    async with database.connect() as connection:
        await again.look(connection)
    assert registry.get_sample_value("tenants_database_roles_restored_total") == 0


async def _until_let_in(database: Database, tenant: Work) -> None:
    async def is_let_in() -> bool:
        try:
            await (await database.log_in(tenant.tenant_id)).close()
        except psycopg.OperationalError:
            return False
        return True

    await until(is_let_in, "a login with the password that derives from the master key")
