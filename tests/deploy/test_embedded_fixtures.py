"""What the fixtures of the test suite promise."""

import psycopg
import pytest
from psycopg import sql

from tests.support.servers import SharedStack

_TABLES = "SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
_OWNER = "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"


async def test_a_fresh_database_is_empty_and_belongs_to_the_service(postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        tables = await connection.execute(_TABLES)
        owner = await (await connection.execute(_OWNER)).fetchone()
    assert tables.rowcount == 0
    assert owner == ("service",)


async def test_a_dropped_database_takes_its_connections_and_roles_with_it(stack: SharedStack) -> None:
    kept, dropped = await stack.fresh_database(), await stack.fresh_database()
    async with await psycopg.AsyncConnection.connect(dropped, autocommit=True) as connection:
        await connection.execute("CREATE ROLE gone_with_its_database LOGIN")
        await stack.drop_database(dropped)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT")
    async with await psycopg.AsyncConnection.connect(kept, autocommit=True) as connection:
        found = await connection.execute(
            sql.SQL("SELECT FROM pg_roles WHERE rolname = {}").format("gone_with_its_database")
        )
    assert found.rowcount == 0
    await stack.drop_database(kept)
