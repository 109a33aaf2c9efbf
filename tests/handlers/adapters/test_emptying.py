"""A role or a schema that holds very much is emptied piece by piece: nobody else's locks run out."""

from __future__ import annotations

import asyncio

import pytest

from handlers.adapters import schemas
from handlers.adapters.effects import Work
from handlers.adapters.emptying import AT_ONCE, empty, large_objects_of
from handlers.adapters.schemas import schema_of
from tests.handlers.adapters.tenant_database import Database
from tests.support.servers import SharedStack

MANY = 50_000
"""Large objects: more than all locks that the server of the tests has room for."""


@pytest.fixture
async def hoarder(stack: SharedStack, database: Database, tenant: Work) -> Work:
    """A tenant whose role made many large objects while it could."""
    name = schema_of(tenant.tenant_id)
    allow = f"GRANT EXECUTE ON FUNCTION lo_create(oid) TO {name}"
    await stack.as_superuser(database.url, allow)
    async with await database.log_in(tenant.tenant_id) as door:
        for _ in range(MANY // 10_000):
            await door.execute("SELECT count(lo_create(0)) FROM generate_series(1, 10000)")
    await stack.as_superuser(database.url, f"REVOKE EXECUTE ON FUNCTION lo_create(oid) FROM {name}")
    return tenant


async def test_many_large_objects_go_while_others_work(database: Database, hoarder: Work):
    done = asyncio.Event()

    async def work_beside() -> int:
        tables = 0
        async with database.connect() as connection:
            while not done.is_set():
                async with connection.transaction(force_rollback=True):
                    for table in range(50):
                        await connection.execute(f"CREATE TABLE beside_{table} (id int PRIMARY KEY)".encode())
                tables += 50
        return tables

    beside = asyncio.create_task(work_beside())
    async with database.connect() as connection:
        held = await empty(connection, hoarder.tenant_id)
        assert await large_objects_of(connection, hoarder.tenant_id) == 0
        again = await empty(connection, hoarder.tenant_id)
    done.set()
    assert await beside > 0
    assert (held["large_objects"], again["large_objects"]) == (MANY, 0)

    async with database.connect() as connection, connection.transaction():
        await schemas.purge_schema(hoarder._replace(connection=connection))
    assert await database.exists(hoarder.tenant_id) == (False, False)
    assert await database.sql("SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


async def test_many_tables_go_piece_by_piece(database: Database, tenant: Work):
    name = schema_of(tenant.tenant_id)
    before = await database.sql("SELECT count(*) FROM pg_tables WHERE schemaname = %s", name)
    for table in range(2 * AT_ONCE):
        refers = f"REFERENCES {name}.many_{table - 1}" if table else ""
        await database.sql(f"CREATE TABLE {name}.many_{table} (id int PRIMARY KEY {refers})")
    async with database.connect() as connection:
        held = await empty(connection, tenant.tenant_id)
    [(left,)] = await database.sql("SELECT count(*) FROM pg_tables WHERE schemaname = %s", name)
    assert held["tables"] == before[0][0] + 2 * AT_ONCE
    assert left < AT_ONCE
    async with database.connect() as connection, connection.transaction():
        await schemas.purge_schema(tenant._replace(connection=connection))
    assert await database.exists(tenant.tenant_id) == (False, False)
