"""What a tenant's role and schema hold too much of is removed piece by piece, before the rest goes at once.

Each thing that is dropped takes a lock until the transaction ends, and the server has room for a number of
locks that all transactions share: with too many in one, everybody's fail.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql

from handlers.adapters.roles import has_role, lend, schema_of, take_back
from handlers.adapters.statements import trusted

AT_ONCE = 100
"""Tables that are dropped in one transaction: each takes some ten locks, with its indexes and sequences."""

OBJECTS_AT_ONCE = 1000
"""Large objects that are dropped in one transaction: each takes a lock."""

_UNLINK = """
SELECT count(lo_unlink(m.oid)) FROM (
    SELECT oid FROM pg_largeobject_metadata WHERE lomowner = %s::regrole LIMIT %s) m"""

_LARGE_OBJECTS = "SELECT count(*) FROM pg_largeobject_metadata WHERE lomowner = %s::regrole"

_RELATIONS = """
SELECT c.relname, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
    WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
ORDER BY c.relkind = 'S', c.oid DESC LIMIT %s"""

_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"


async def empty(connection: AsyncConnection[Any], tenant_id: UUID) -> dict[str, int]:
    """Remove the tenant's large objects, and its tables but the last; says how many there were.

    `connection` commits each statement by itself. Done again it goes on where it was broken off.
    """
    name, large_objects = schema_of(tenant_id), 0
    row = await (await connection.execute(_TABLES, (name,))).fetchone()
    if await has_role(connection, tenant_id):
        while gone := await _unlink(connection, tenant_id):
            large_objects += gone
    while len(found := await _relations(connection, name)) == AT_ONCE:
        async with connection.transaction():
            for relation, kind in found:
                drop = trusted(f"DROP {kind} IF EXISTS {{}} CASCADE")
                await connection.execute(drop.format(sql.Identifier(name, relation)))
    return {"tables": row[0] if row else 0, "large_objects": large_objects}


async def large_objects_of(connection: AsyncConnection[Any], tenant_id: UUID) -> int:
    """Return how many large objects the tenant's role owns."""
    if not await has_role(connection, tenant_id):
        return 0
    row = await (await connection.execute(_LARGE_OBJECTS, (schema_of(tenant_id),))).fetchone()
    return row[0] if row else 0


async def _unlink(connection: AsyncConnection[Any], tenant_id: UUID) -> int:
    async with connection.transaction():
        await lend(connection, tenant_id)
        row = await (await connection.execute(_UNLINK, (schema_of(tenant_id), OBJECTS_AT_ONCE))).fetchone()
        await take_back(connection, tenant_id)
    return row[0] if row else 0


async def _relations(connection: AsyncConnection[Any], name: str) -> list[tuple[str, str]]:
    return await (await connection.execute(_RELATIONS, (name, AT_ONCE))).fetchall()
