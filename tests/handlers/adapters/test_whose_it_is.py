"""What an operation may undo in the database: what bears its mark, and nothing else of the same name."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest

from handlers.adapters import schemas
from handlers.adapters.effects import PermanentlyFailed, Work
from handlers.adapters.schemas import schema_of
from tests.handlers.adapters.tenant_database import Database
from tests.handlers.adapters.works import work_on


async def precious(database: Database, schema: str) -> list[tuple[Any, ...]]:
    return await database.sql(f"SELECT answer FROM {schema}.precious")


async def test_a_schema_that_stood_there_is_neither_taken_nor_dropped(database: Database):
    work = work_on()
    name = schema_of(work.tenant_id)
    await database.sql(f"CREATE SCHEMA {name}")
    await database.sql(f"CREATE TABLE {name}.precious AS SELECT 42 AS answer")
    with pytest.raises(PermanentlyFailed, match=f"A schema {name} stands there"):
        await database.create(work)
    with pytest.raises(PermanentlyFailed, match="move it out of the way"):
        await database.drop(work)
    assert await precious(database, name) == [(42,)]

    await database.sql(f"ALTER SCHEMA {name} RENAME TO kept_{work.tenant_id.hex}")
    await database.drop(work)
    await database.create(work)
    assert await precious(database, f"kept_{work.tenant_id.hex}") == [(42,)]


async def test_a_role_that_stood_there_is_neither_taken_nor_dropped(database: Database):
    work = work_on()
    name = schema_of(work.tenant_id)
    await database.sql(f"CREATE ROLE {name}")
    with pytest.raises(PermanentlyFailed, match=f"A role {name} stands there"):
        await database.create(work)
    with pytest.raises(PermanentlyFailed, match=f"A role {name} stands there"):
        await database.drop(work)
    assert await database.exists(work.tenant_id) == (False, True)


async def test_an_operation_does_not_undo_what_another_made(database: Database, tenant: Work):
    other = tenant._replace(operation=msgspec.structs.replace(tenant.operation, operation_id=uuid4()))
    with pytest.raises(PermanentlyFailed):
        await database.drop(other)
    assert await database.exists(tenant.tenant_id) == (True, True)
    await database.drop(tenant)
    assert await database.exists(tenant.tenant_id) == (False, False)


async def test_a_schema_that_was_put_in_the_place_of_the_own_one_stays(database: Database, tenant: Work):
    name = schema_of(tenant.tenant_id)
    await database.sql(f"DROP SCHEMA {name} CASCADE")
    await database.sql(f"CREATE SCHEMA {name}")
    with pytest.raises(PermanentlyFailed, match=f"A schema {name} stands there"):
        await database.drop(tenant)
    assert await database.exists(tenant.tenant_id) == (True, True)


async def test_what_an_older_version_made_is_known_by_the_journal(database: Database, tenant: Work):
    await database.sql("DELETE FROM service.tenant_roles")
    with pytest.raises(PermanentlyFailed):
        await database.drop(tenant)
    step = tenant.operation.step(schemas.STEP)
    told = msgspec.structs.replace(step, output={"schema": schema_of(tenant.tenant_id)})
    operation = msgspec.structs.replace(tenant.operation, steps=(told,))
    await database.drop(tenant._replace(operation=operation))
    assert await database.exists(tenant.tenant_id) == (False, False)


async def test_a_purge_takes_all_that_has_the_tenants_name(database: Database):
    work = work_on()
    await database.sql(f"CREATE SCHEMA {schema_of(work.tenant_id)}")
    async with database.connect() as connection, connection.transaction():
        output = await schemas.purge_schema(work._replace(connection=connection))
    assert output["schema_gone"] is True
    assert await database.exists(work.tenant_id) == (False, False)


async def test_a_role_that_the_service_made_itself_is_kept_like_any_other(database: Database, tenant: Work):
    name = schema_of(tenant.tenant_id)
    older = work_on()
    await database.sql(f"CREATE ROLE {schema_of(older.tenant_id)} LOGIN")
    await database.access.close(older)
    await database.access.open(older)
    rows = await database.sql(
        "SELECT count(*) FROM pg_auth_members WHERE member = current_user::regrole AND roleid = %s::regrole",
        name,
    )
    assert rows == [(0,)], "every backend of the service would look through its tenants' roles"


async def test_the_services_login_belongs_to_no_tenants_role_after_any_effect(
    database: Database, tenant: Work, door: psycopg.AsyncConnection[Any]
):
    async def memberships() -> int:
        rows = await database.sql("SELECT count(*) FROM pg_auth_members WHERE member = current_user::regrole")
        return rows[0][0]

    before = await memberships()
    await door.execute("SELECT 1")
    await database.access.close(tenant)
    await database.access.open(tenant)
    assert await memberships() == before
    await database.drop(tenant)
    assert await memberships() == before
