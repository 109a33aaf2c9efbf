"""A tenant's schema and role: what they hold, and that the role reaches nothing else."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest

from handlers.adapters import schemas
from handlers.adapters.effects import PermanentlyFailed, Work
from handlers.adapters.schemas import schema_of
from tests.handlers.adapters.tenant_database import Database
from tests.handlers.adapters.works import KEY, inside, of_tenant, work_on
from tests.support.waiting import soon

TABLES = {"schema_version", "users", "settings", "usage", "files", "audit", "sso_connections"}


async def test_a_tenant_has_its_tables_and_a_role_that_finds_them(
    tenant: Work, door: psycopg.AsyncConnection[Any]
):
    cursor = await door.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    assert {row[0] for row in await cursor.fetchall()} == TABLES
    await door.execute("INSERT INTO users (id, role, status) VALUES (gen_random_uuid(), 'viewer', 'active')")
    await door.execute("INSERT INTO audit (action) VALUES ('looked')")
    version = await (await door.execute("SELECT version FROM schema_version")).fetchone()
    assert version == (schemas.VERSION,)


async def test_preparing_again_changes_nothing(database: Database):
    async with database.connect() as connection:
        await schemas.prepare(connection)


async def test_several_processes_may_prepare_at_once(database: Database):
    async def prepare() -> None:
        async with database.connect() as connection:
            await schemas.prepare(connection)

    await asyncio.gather(*(prepare() for _ in range(5)))


async def test_the_defaults_of_the_plan_are_written_once(database: Database, tenant: Work):
    work = of_tenant(work_on("configure_defaults"), tenant.tenant_id)
    for _ in range(2):
        async with database.connect() as connection:
            await schemas.write_defaults(inside(work, connection))
    rows = dict(await database.sql(f"SELECT key, value FROM {schema_of(tenant.tenant_id)}.settings"))
    assert rows["quotas"]["users"] == 250
    assert rows["flags"]["sso"] is True
    assert rows["branding"]["display_name"] == "Acme Analytics"
    assert rows["plan"] == "professional"
    assert set(rows) == {"plan", "region", "quotas", "flags", "branding", "settings", "plan_tables"}


async def test_the_admin_is_the_owner_once(database: Database, tenant: Work):
    work = of_tenant(work_on("setup_admin"), tenant.tenant_id)
    for _ in range(2):
        async with database.connect() as connection:
            await schemas.write_admin(inside(work, connection))
    users = await database.sql(
        f"SELECT user_id, email, role, status FROM {schema_of(tenant.tenant_id)}.users"
    )
    assert users == [("ada", "ada@acme.example", "owner", "active")]


async def test_dropping_leaves_nothing_and_may_be_done_twice(database: Database, tenant: Work):
    assert await database.exists(tenant.tenant_id) == (True, True)
    for _ in range(2):
        await database.drop(tenant)
        assert await database.exists(tenant.tenant_id) == (False, False)
    await database.create(tenant)
    assert await database.exists(tenant.tenant_id) == (True, True)


async def test_dropping_ends_the_sessions_of_the_tenant(
    database: Database, tenant: Work, door: psycopg.AsyncConnection[Any]
):
    async with door.transaction():
        await door.execute("SELECT * FROM users")
        await soon(database.drop(tenant))
        with pytest.raises(psycopg.OperationalError):
            await door.execute("SELECT 1")
    assert await database.exists(tenant.tenant_id) == (False, False)


async def test_a_rolled_back_creation_leaves_nothing(database: Database):
    work = work_on()
    async with database.connect() as connection, connection.transaction(force_rollback=True):
        await schemas.create_schema(inside(work, connection), key=KEY)
    assert await database.exists(work.tenant_id) == (False, False)


async def test_closed_access_ends_sessions_and_keeps_the_tenant_out_until_it_is_opened(
    database: Database, tenant: Work, door: psycopg.AsyncConnection[Any]
):
    for _ in range(2):
        await database.access.close(tenant)
        with pytest.raises(psycopg.OperationalError):
            await door.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            await database.log_in(tenant.tenant_id)
    assert await _memberships(database, tenant) == 1

    for _ in range(2):
        await database.access.open(tenant)
        async with await database.log_in(tenant.tenant_id) as again:
            await again.execute("SELECT 1")


async def _memberships(database: Database, tenant: Work) -> int:
    rows = await database.sql(
        "SELECT inherit_option FROM pg_auth_members WHERE roleid = %s::regrole",
        schema_of(tenant.tenant_id),
    )
    assert not any(inherits for (inherits,) in rows)
    return len(rows)


async def test_access_to_a_tenant_without_a_role_fails_for_good(database: Database):
    with pytest.raises(PermanentlyFailed):
        await database.access.close(work_on())


ATTACKS = [
    "SELECT * FROM {other}.users",
    "INSERT INTO {other}.audit (action) VALUES ('forged')",
    "SET ROLE {other}",
    "SET SESSION AUTHORIZATION {other}",
    "SET ROLE service",
    "RESET ROLE; SELECT * FROM {other}.settings",
    "GRANT {other} TO {own}",
    "GRANT service TO {own}",
    "ALTER ROLE {other} PASSWORD 'mine'",
    "ALTER ROLE {own} SUPERUSER",
    "ALTER ROLE {own} CREATEROLE",
    "ALTER ROLE {own} CONNECTION LIMIT 1000",
    "CREATE ROLE intruder",
    "SELECT * FROM service.events",
    "SELECT * FROM service.command_ledger",
    "SELECT service.append()",
    "CREATE TABLE public.mine (id int)",
    "CREATE TABLE {own}.mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE TEMP TABLE mine (id int)",
    "CREATE DATABASE mine",
    "DROP TABLE {own}.users",
    "TRUNCATE {own}.users",
    "ALTER TABLE {own}.users ADD COLUMN mine int",
    "UPDATE {own}.settings SET value = '{{}}'",
    "UPDATE {own}.usage SET used = 0",
    "UPDATE {own}.audit SET action = 'other'",
    "DELETE FROM {own}.audit",
    "UPDATE {own}.schema_version SET version = 99",
    "SELECT * FROM pg_authid",
    "UPDATE pg_class SET relowner = (SELECT oid FROM pg_roles WHERE rolname = '{own}')",
    "DELETE FROM pg_namespace",
    "COPY {own}.users TO PROGRAM 'id'",
    "COPY {own}.users TO '/tmp/users'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "CREATE EXTENSION IF NOT EXISTS dblink",
    "CREATE FUNCTION {own}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER SYSTEM SET max_connections = 1",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'service'",
    "SET session_replication_role = replica",
    "ALTER DATABASE {database} SET search_path = {own}",
    "COMMENT ON SCHEMA {other} IS 'mine'",
    "SELECT lo_create(0)",
    "SELECT lo_creat(131072)",
    "SELECT lo_from_bytea(0, 'mine')",
    "SELECT lo_put(1, 0, 'mine')",
    "SELECT lo_open(1, 131072)",
    "SELECT loread(0, 1)",
    "SELECT lowrite(0, 'mine')",
    "SELECT lo_get(1)",
    "SELECT lo_unlink(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock_shared(1, 2)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_try_advisory_xact_lock(1, 2)",
    "SELECT pg_relation_size('{other}.users')",
    "SELECT pg_total_relation_size('{other}.users')",
    "SELECT pg_table_size('service.events')",
    "SELECT pg_database_size(current_database())",
    "SELECT reltuples, relpages FROM pg_class",
    "SELECT * FROM pg_stat_all_tables",
    "SELECT * FROM pg_stat_user_tables",
    "SELECT * FROM pg_statio_all_tables",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_stat_database",
    "SELECT * FROM pg_stats",
    "SELECT * FROM pg_stats_ext",
    "SELECT * FROM pg_locks",
    "SELECT * FROM pg_auth_members",
    "SELECT * FROM pg_db_role_setting",
    "SELECT * FROM pg_largeobject_metadata",
    "SELECT pg_stat_get_live_tuples('{other}.users'::regclass)",
    "SELECT pg_stat_get_activity(NULL)",
    "SELECT pg_stat_get_db_xact_commit(1)",
    "SELECT pg_lock_status()",
    "SELECT service.keep_role('open', '{other}')",
    "SELECT service.keeper_00('open', '{other}', NULL, NULL)",
    "SELECT * FROM service.tenant_roles",
    "SET ROLE service_keeper_00",
    "SET temp_file_limit = -1",
    "SET log_min_messages = 'debug5'",
    "SET log_statement = 'all'",
]


async def test_a_tenants_role_reaches_only_its_own_schema(
    database: Database, tenant: Work, door: psycopg.AsyncConnection[Any], other: Work
):
    names = {
        "own": schema_of(tenant.tenant_id),
        "other": schema_of(other.tenant_id),
        "database": urlsplit(database.url).path[1:],
    }
    got_through: list[str] = []
    async with database.connect() as service:
        await service.execute("SELECT 1")
        for attack in ATTACKS:
            try:
                await door.execute(attack.format(**names).encode())
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
                continue
            got_through.append(attack)
    assert got_through == []


async def test_nobody_but_the_service_may_ask_a_keeper(database: Database, tenant: Work):
    """Behind the wall of the schema, which the attacks above do not pass, stands another."""
    rows = await database.sql(
        "SELECT p.proname, has_function_privilege(%s, p.oid, 'EXECUTE'),"
        " ARRAY(SELECT a.grantee::regrole::text FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner)"
        " FROM pg_proc p WHERE p.pronamespace = 'service'::regnamespace AND p.proname LIKE 'keeper%%'",
        schema_of(tenant.tenant_id),
    )
    [(service,)] = await database.sql("SELECT current_user")
    assert sorted(rows) == [(f"keeper_{number:02}", False, [service]) for number in range(32)]


@pytest.mark.parametrize("deed", ["make", "open", "close", "restore", "lend", "take_back", "drop"])
async def test_a_keeper_touches_no_role_but_tenants(database: Database, deed: str):
    [(service,)] = await database.sql("SELECT current_user")
    hexed = UUID(int=7).hex
    for name in (service, "pg_monitor", "stranger", hexed, f"t_{hexed}0", f"t_{hexed}\n", f"T_{hexed}"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="no tenant's role"):
            await database.sql("SELECT service.keeper_00(%s, %s, 1, 'x')", deed, name)


async def test_a_tenants_role_cannot_use_up_the_servers_connections(database: Database, tenant: Work):
    doors = [await database.log_in(tenant.tenant_id) for _ in range(schemas.CONNECTIONS)]
    try:
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            await database.log_in(tenant.tenant_id)
    finally:
        for each in doors:
            await each.close()


async def test_a_tenants_statement_has_a_time_limit_by_default(door: psycopg.AsyncConnection[Any]):
    limit = await (await door.execute("SHOW statement_timeout")).fetchone()
    assert limit == ("30s",)
