"""No tenant can take anything that the service locks by."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import psycopg
from eventsourcing.postgres import PostgresDatastore

from handlers.adapters import schemas
from handlers.adapters.effects import Work
from handlers.adapters.roles import schema_of
from handlers.store.library.recorders import TenantApplicationRecorder
from handlers.store.migrate import migrate
from tests.handlers.adapters.tenant_database import Database
from tests.support.servers import SharedStack, make_read_models
from tests.support.waiting import within

FORMER = (
    "7211953106312418",
    "2118797077",
    "2118797078",
    "hashtextextended('service.claim_partitions', 0)",
    "32330, hashtext('tenants')",
)
"""The keys of the advisory locks that the service once took."""


async def test_a_tenant_that_holds_advisory_locks_holds_nobody_up(
    stack: SharedStack, database: Database, tenant: Work, door: psycopg.AsyncConnection[Any]
):
    """As on a server that no superuser has closed."""
    opened = "FUNCTION pg_advisory_lock(bigint), pg_advisory_lock(int, int)"
    await stack.as_superuser(database.url, f"GRANT EXECUTE ON {opened} TO {schema_of(tenant.tenant_id)}")
    for key in FORMER:
        await door.execute(f"SELECT pg_advisory_lock({key})".encode())
    await stack.as_superuser(database.url, f"REVOKE EXECUTE ON {opened} FROM {schema_of(tenant.tenant_id)}")
    async with within("what must not wait for an advisory lock"):
        await migrate(database.url)
        async with database.connect() as connection:
            await schemas.prepare(connection)
        await make_read_models(database.url)
        await asyncio.to_thread(_open_log_of_an_application, database.url)


async def test_no_function_of_the_service_takes_an_advisory_lock(database: Database):
    # Claiming partitions has a lock of its own, told by the tests of the commands' intake.
    rows = await database.sql(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'service'::regnamespace"
        " AND prosrc ~ 'advisory' AND proname <> 'claim_partitions'"
    )
    assert rows == []


def _open_log_of_an_application(url: str) -> None:
    parts = urlsplit(url)
    datastore = PostgresDatastore(
        dbname=parts.path.removeprefix("/"),
        host=str(parts.hostname),
        port=str(parts.port),
        user=str(parts.username),
        password=str(parts.password),
        schema="service",
    )
    with datastore:
        TenantApplicationRecorder(datastore, events_table_name="orders_events").create_table()
