"""The state of a tenant's schema as far as plans are concerned: read, measured, compared and written back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, errors, sql

from handlers.adapters.effects import EffectFailed
from handlers.adapters.plan_tables import dropping, making
from handlers.adapters.roles import schema_of
from handlers.adapters.schemas import PLAN_TABLES
from handlers.adapters.statements import template, trusted
from tenant_domain.catalogue import Use, is_own_branding

_DUMP = trusted(template("dump"))
_SETTINGS = """
SELECT key, value::text, (updated_at AT TIME ZONE 'UTC')::text FROM {}.settings ORDER BY key COLLATE "C"
"""
_VERSIONS = """
SELECT version, (applied_at AT TIME ZONE 'UTC')::text FROM {}.schema_version ORDER BY version, applied_at
"""
_USED = """
SELECT (SELECT count(*) FROM {0}.users WHERE status <> 'removed'),
    greatest(
        (SELECT coalesce(sum(size), 0) FROM {0}.files),
        (SELECT used FROM {0}.usage WHERE resource = 'storage' ORDER BY period_start DESC LIMIT 1)
    )::bigint
"""
_COUNT = "SELECT count(*) FROM {{}}.{}"
_READ = "LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT"
"""The lock that a look takes anyway, without a wait: a tenant may have locked its own tables for long."""
_REMOVE = "DELETE FROM {}.settings WHERE key <> ALL (%s)"
_PUT_BACK = """
INSERT INTO {}.settings (key, value, updated_at)
SELECT key, value, at AT TIME ZONE 'UTC'
FROM unnest(%s::text[], %s::jsonb[], %s::timestamp[]) AS t (key, value, at)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at
"""
_GIVE_WAY = "SET LOCAL lock_timeout = '2s'"
"""Who waits for a table's lock keeps the tenant's statements waiting behind it: rather try again later."""
_PATIENCE = "SELECT current_setting('lock_timeout')"
_AS_BEFORE = "SELECT set_config('lock_timeout', %s, true)"


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A row of the tenant's settings, to the letter: JSON as PostgreSQL writes it, the time in UTC."""

    key: str
    value: str
    updated_at: str


class Thing(msgspec.Struct, frozen=True, array_like=True):
    """One thing of the schema, and the table that it belongs to; see `dump.sql`. The schema is `{tenant}`."""

    table: str
    what: str


class PlanState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a change of the plan touches, and what stands around it."""

    format: int = 1
    tenant_id: UUID
    settings: tuple[Row, ...]
    versions: tuple[tuple[int, str], ...]
    schema: tuple[Thing, ...]

    @property
    def tables(self) -> dict[str, int]:
        """The plan's own tables, with the versions of their templates."""
        return self.setting(PLAN_TABLES) or {}

    def setting(self, key: str) -> Any:
        """Return the value of a setting; None when it is not set."""
        return next((msgspec.json.decode(row.value) for row in self.settings if row.key == key), None)


def packed(state: PlanState) -> bytes:
    """Return the state as JSON: the same bytes for the same state."""
    return msgspec.json.encode(state)


def hashed(raw: bytes) -> str:
    """Return the SHA-256 of a packed state, in hex."""
    return hashlib.sha256(raw).hexdigest()


async def read(connection: AsyncConnection[Any], tenant_id: UUID) -> PlanState:
    """Return the state as it stands; consistent where the transaction's snapshot is one."""
    name = schema_of(tenant_id)
    return PlanState(
        tenant_id=tenant_id,
        settings=tuple(Row(*row) for row in await _rows(connection, _SETTINGS, name)),
        versions=tuple((version, at) for version, at in await _rows(connection, _VERSIONS, name)),
        schema=await dump(connection, name, name),
    )


async def dump(connection: AsyncConnection[Any], schema: str, role: str) -> tuple[Thing, ...]:
    """Return what stands in a schema, with `{tenant}` for its name and the role's, so that two compare."""
    found = await connection.execute(_DUMP, {"schema": schema})
    return tuple(
        Thing(table, what.replace(schema, "{tenant}").replace(role, "{tenant}"))
        for table, what in await found.fetchall()
    )


async def as_made(connection: AsyncConnection[Any], tenant_id: UUID, tables: Mapping[str, int]) -> set[Thing]:
    """Return what the tables of a plan are when they are made: in a schema that never comes to be."""
    role, model = schema_of(tenant_id), f"model_{tenant_id.hex}"
    async with connection.transaction(force_rollback=True):
        await connection.execute(trusted(f"CREATE SCHEMA {model};" + making(tables, model, role)))
        return {thing for thing in await dump(connection, model, role) if thing.table in tables}


async def measured(connection: AsyncConnection[Any], tenant_id: UUID) -> Use:
    """Return what the tenant has that a plan may not hold.

    Raises EffectFailed where somebody has locked one of its tables.
    """
    name = schema_of(tenant_id)
    await _to_read(connection, tenant_id, ("users", "files", "usage", "settings"))
    [(users, storage)] = await _rows(connection, _USED, name)
    settings: dict[str, Any] = dict(await _rows(connection, "SELECT key, value FROM {}.settings", name))
    tables: dict[str, int] = settings.get(PLAN_TABLES, {})
    await _to_read(connection, tenant_id, tables)
    rows = {table: (await _rows(connection, _COUNT.format(table), name))[0][0] for table in tables}
    branding = is_own_branding(settings.get("branding", {}))
    return Use(users=users, storage=storage, schema=tables, rows=rows, own_branding=branding)


async def change_tables(
    connection: AsyncConnection[Any], tenant_id: UUID, old: Mapping[str, int], new: Mapping[str, int]
) -> None:
    """Drop and make tables, so that the tenant has the `new` ones; all else of it stays in use."""
    name = schema_of(tenant_id)
    gone = {table: version for table, version in old.items() if new.get(table) != version}
    come = {table: version for table, version in new.items() if old.get(table) != version}
    await lock(connection, tenant_id, gone)
    if gone or come:
        await connection.execute(trusted(dropping(gone, name) + making(come, name, name)))


async def _to_read(connection: AsyncConnection[Any], tenant_id: UUID, tables: Collection[str]) -> None:
    if not tables:
        return
    names = sql.SQL(", ").join(sql.Identifier(schema_of(tenant_id), table) for table in sorted(tables))
    try:
        await connection.execute(trusted(_READ).format(names))
    except errors.LockNotAvailable as error:
        raise EffectFailed(
            f"A session of the tenant's role has locked a table of its schema: {error.diag.message_primary}."
            " The step is tried again; `pg_locks` has the session."
        ) from error


async def lock(connection: AsyncConnection[Any], tenant_id: UUID, tables: Collection[str]) -> None:
    """Keep everybody from tables until the transaction ends; gives up when somebody uses one for long."""
    if not tables:
        return
    names = ", ".join(f"{schema_of(tenant_id)}.{table}" for table in sorted(tables))
    former = await (await connection.execute(_PATIENCE)).fetchone()
    await connection.execute(_GIVE_WAY)
    await connection.execute(trusted(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
    await connection.execute(_AS_BEFORE, former)


async def write_back(connection: AsyncConnection[Any], state: PlanState) -> None:
    """Bring tables and settings back to `state`, to the letter."""
    name = schema_of(state.tenant_id)
    present = await read(connection, state.tenant_id)
    await change_tables(connection, state.tenant_id, present.tables, state.tables)
    keys = [row.key for row in state.settings]
    values, times = [row.value for row in state.settings], [row.updated_at for row in state.settings]
    await _rows(connection, _REMOVE, name, keys)
    await _rows(connection, _PUT_BACK, name, keys, values, times)


async def _rows(connection: AsyncConnection[Any], query: str, schema: str, *values: list[str]) -> list[Any]:
    cursor = await connection.execute(trusted(query).format(sql.Identifier(schema)), values)
    return await cursor.fetchall() if cursor.description else []
