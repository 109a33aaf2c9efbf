"""Tenants' schemas: one schema and one LOGIN role for each tenant, both called `t_<tenant id in hex>`.

The service's role needs CREATEROLE and must own the database. The statements stand in `tenant_schema/`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb

from handlers.adapters.effects import EffectFailed, Output, Work
from handlers.adapters.keys import MasterKey
from handlers.adapters.plan_tables import making
from handlers.adapters.statements import template, trusted
from tenant_domain.decision import Event
from tenant_domain.membership.decide import owner_ref
from tenant_domain.tenant.events import DefaultsConfigured
from tenant_domain.values import Json

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]
"""Gives a connection of its own, which commits each statement by itself."""

VERSION = 1
"""The version of the template that new tenants get."""

CONNECTIONS = 20
"""Most connections of one tenant's role: no tenant can use up the server's."""

PLAN_TABLES = "plan_tables"
"""The setting that tells which tables of plans the schema has, and in which versions."""

_CREATE = template(f"create_{VERSION}")
_DROP = template("drop")
_PREPARE = template("prepare")


def schema_of(tenant_id: UUID) -> str:
    """Return the name of the tenant's schema and role."""
    return f"t_{tenant_id.hex}"


async def prepare(connection: AsyncConnection[Any]) -> None:
    """Close the database to everybody but the service and what tenants are granted; again changes nothing."""
    names = await (await connection.execute("SELECT current_database(), current_user")).fetchone()
    assert names is not None
    statements = _PREPARE.format(
        database=_quoted(names[0], connection), service=_quoted(names[1], connection)
    )
    async with connection.transaction():
        await connection.execute(trusted(statements))


async def create_schema(work: Work, key: MasterKey) -> Output:
    """Create the tenant's schema, its tables, those of its plan, and its role."""
    name, plan = schema_of(work.tenant_id), work.policy.plans[work.tenant.plan]
    # In a thread: its iterations are milliseconds in which this process would answer nobody.
    verifier = await asyncio.to_thread(key.scram_verifier, work.tenant_id)
    statements = (
        _CREATE.replace("{tenant}", name)
        .replace("{connections}", str(CONNECTIONS))
        .replace("{verifier}", verifier)
    )
    await work.transaction.execute(trusted(statements + making(plan.schema, name, name)))
    return {"schema": name, "schema_version": VERSION}


async def drop_schema(work: Work) -> None:
    """Drop the tenant's schema with all it holds, end the sessions of its role, and drop the role."""
    await work.transaction.execute(trusted(_DROP.replace("{tenant}", schema_of(work.tenant_id))))


async def purge_schema(work: Work) -> Output:
    """Drop the tenant's schema and role for good, and look whether they are gone; says what there was."""
    connection, name = work.transaction, schema_of(work.tenant_id)
    tables = await _count(connection, "pg_tables WHERE schemaname", name)
    await drop_schema(work)
    left = await _count(connection, "pg_namespace WHERE nspname", name)
    left += await _count(connection, "pg_roles WHERE rolname", name)
    if left:
        raise EffectFailed("The tenant's schema or role is still there.")
    return {"tables": tables, "schema_gone": True}


async def as_owner(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    """Let `connection` do what the tenant's role may, in a transaction that is to be rolled back."""
    if await has_role(connection, tenant_id):
        await connection.execute(trusted(f"GRANT {schema_of(tenant_id)} TO CURRENT_USER WITH INHERIT TRUE"))


async def write_defaults(work: Work) -> None:
    """Write what the tenant starts with into its settings."""
    defaults = _only(work.facts, DefaultsConfigured)
    rows = {
        "plan": work.tenant.plan,
        "region": work.tenant.region,
        "quotas": defaults.quotas,
        "flags": defaults.flags,
        "branding": defaults.branding,
        "settings": work.tenant.settings,
        PLAN_TABLES: dict(work.policy.plans[work.tenant.plan].schema),
    }
    await write_settings(work.transaction, work.tenant_id, rows)


async def write_settings(
    connection: AsyncConnection[Any], tenant_id: UUID, rows: Mapping[str, Mapping[str, Json] | str]
) -> None:
    """Set settings of the tenant; what is set so already is not touched."""
    query = sql.SQL(
        "INSERT INTO {}.settings AS s (key, value) SELECT * FROM unnest(%s::text[], %s::jsonb[])"
        " ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()"
        " WHERE s.value IS DISTINCT FROM EXCLUDED.value"
    ).format(sql.Identifier(schema_of(tenant_id)))
    await connection.execute(query, (list(rows), [Jsonb(value) for value in rows.values()]))


async def write_admin(work: Work) -> None:
    """Write the tenant's first admin into its users, as its owner; one who stands there stays."""
    admin, operation = work.tenant.admin, work.operation
    member = owner_ref(work.tenant_id, operation.operation_id, admin.user_id).stream
    status = "active" if admin.user_id else "invited"
    query = sql.SQL(
        "INSERT INTO {}.users (id, user_id, email, name, role, status) VALUES (%s, %s, %s, %s, 'owner', %s)"
        " ON CONFLICT (id) DO NOTHING"
    ).format(sql.Identifier(schema_of(work.tenant_id)))
    await work.transaction.execute(query, (member, admin.user_id, admin.email, admin.name, status))


async def has_role(connection: AsyncConnection[Any], tenant_id: UUID) -> bool:
    """Return whether the tenant has a role."""
    return await _count(connection, "pg_roles WHERE rolname", schema_of(tenant_id)) > 0


async def _count(connection: AsyncConnection[Any], where: str, name: str) -> int:
    cursor = await connection.execute(trusted(f"SELECT count(*) FROM {where} = %s"), (name,))  # noqa: S608
    row = await cursor.fetchone()
    return row[0] if row else 0


def _only(facts: tuple[Event, ...], kind: type[DefaultsConfigured]) -> DefaultsConfigured:
    return next(fact for fact in facts if isinstance(fact, kind))


def _quoted(name: str, connection: AsyncConnection[Any]) -> str:
    return sql.Identifier(name).as_string(connection)
