"""Tenants' schemas: one schema and one LOGIN role for each tenant, both called `t_<tenant id in hex>`.

The service's role needs CREATEROLE and must own the database. The statements stand in `tenant_schema/`. What
an operation made is noted in `service.tenant_roles`, in the same transaction, with the numbers that the
database gave it: its undoing removes that, and nothing else of the same name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from psycopg import AsyncConnection, errors, sql
from psycopg.types.json import Jsonb

from handlers.adapters.effects import EffectFailed, Output, PermanentlyFailed, Work
from handlers.adapters.keys import MasterKey
from handlers.adapters.plan_tables import making
from handlers.adapters.roles import drop_role, has_role, lend, making_role, schema_of
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

STEP = "create_schema"
"""The step that makes a schema."""

_CREATE = template(f"create_{VERSION}")
_PREPARE = template("prepare")
_KEEPERS = template("keepers")

_TURN = "SELECT FROM service.turns WHERE name = 'prepare' FOR UPDATE"

_OURS = """
SELECT n.oid IS NOT NULL, r.oid IS NOT NULL, m.operation_id, m.schema_oid IS NOT DISTINCT FROM n.oid,
    m.role_oid IS NOT DISTINCT FROM r.oid
FROM (SELECT %s::text AS name, %s::uuid AS tenant_id) t
LEFT JOIN pg_namespace n ON n.nspname = t.name
LEFT JOIN pg_roles r ON r.rolname = t.name
LEFT JOIN service.tenant_roles m ON m.tenant_id = t.tenant_id"""

_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"


class _Found(NamedTuple):
    """What there is under a tenant's name, which operation made what it has, and whether this is that."""

    schema: bool
    role: bool
    made_by: UUID | None
    same_schema: bool
    same_role: bool


async def prepare(connection: AsyncConnection[Any]) -> None:
    """Close the database to everybody but the service and what tenants are granted; again changes nothing.

    The service's own tables are there already.
    """
    names = await (await connection.execute("SELECT current_database(), current_user")).fetchone()
    assert names is not None
    statements = _PREPARE.format(
        database=_quoted(names[0], connection), service=_quoted(names[1], connection)
    )
    async with connection.transaction():
        await connection.execute(_TURN)
        await connection.execute(trusted(statements + _KEEPERS))


async def create_schema(work: Work, key: MasterKey, connections: int = CONNECTIONS) -> Output:
    """Create the tenant's schema, its tables, those of its plan, and its role, and note that this run did.

    Raises PermanentlyFailed where a schema or a role of that name stands there.
    """
    name, plan = schema_of(work.tenant_id), work.policy.plans[work.tenant.plan]
    # In a thread: its iterations are milliseconds in which this process would answer nobody.
    verifier = await asyncio.to_thread(key.scram_verifier, work.tenant_id)
    statements = making_role(name, connections, verifier) + _CREATE.replace("{tenant}", name).replace(
        "{operation}", str(work.operation.operation_id)
    )
    try:
        await work.transaction.execute(trusted(statements + making(plan.schema, name, name)))
    except errors.DuplicateObject:
        raise PermanentlyFailed(_in_the_way("role", name)) from None
    except errors.DuplicateSchema:
        raise PermanentlyFailed(_in_the_way("schema", name)) from None
    return {"schema": name, "schema_version": VERSION}


async def drop_schema(work: Work) -> None:
    """Drop the schema and the role that this run made, and end the sessions of the role.

    Raises PermanentlyFailed in front of others of the same name: what they hold is not this run's to lose.
    """
    name, connection = schema_of(work.tenant_id), work.transaction
    found = await _found(connection, work.tenant_id)
    ours = found.made_by == work.operation.operation_id
    if found.made_by is None and work.operation.step(STEP).output.get("schema") == name:
        ours, found = True, found._replace(same_schema=True, same_role=True)  # made by an older version
    if found.schema and not (ours and found.same_schema):
        raise PermanentlyFailed(_in_the_way("schema", name))
    if found.role and not (ours and found.same_role):
        raise PermanentlyFailed(_in_the_way("role", name))
    await _remove(connection, work.tenant_id)


async def purge_schema(work: Work) -> Output:
    """Drop the tenant's schema and role for good, and look whether they are gone.

    How many tables there were was counted by the part of the step before this one (`emptying.empty`).
    """
    connection = work.transaction
    await _remove(connection, work.tenant_id)
    found = await _found(connection, work.tenant_id)
    if found.schema or found.role:
        raise EffectFailed("The tenant's schema or role is still there.")
    return {"schema_gone": True}


async def _remove(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    """Drop whatever has the tenant's name, and end its sessions; what is not there is passed over."""
    name = schema_of(tenant_id)
    there = await has_role(connection, tenant_id)
    if there:
        await lend(connection, tenant_id)  # it ends with the role
        await connection.execute(_END_SESSIONS, (name,))
        await connection.execute(trusted(f"DROP OWNED BY {name}"))
    await connection.execute(trusted(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
    if there:
        await drop_role(connection, tenant_id)
    await connection.execute("DELETE FROM service.tenant_roles WHERE tenant_id = %s", (tenant_id,))


async def _found(connection: AsyncConnection[Any], tenant_id: UUID) -> _Found:
    row = await (await connection.execute(_OURS, (schema_of(tenant_id), tenant_id))).fetchone()
    assert row is not None
    return _Found(*row)


def _in_the_way(kind: str, name: str) -> str:
    what = "ALTER SCHEMA … RENAME TO …" if kind == "schema" else "ALTER ROLE … RENAME TO …"
    return (
        f"A {kind} {name} stands there that this run did not make. It is left as it is: look at it, then move"
        f" it out of the way ({what}) or drop it, and retry the operation."
    )


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


def _only(facts: tuple[Event, ...], kind: type[DefaultsConfigured]) -> DefaultsConfigured:
    return next(fact for fact in facts if isinstance(fact, kind))


def _quoted(name: str, connection: AsyncConnection[Any]) -> str:
    return sql.Identifier(name).as_string(connection)
