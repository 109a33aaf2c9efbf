"""Tenants' roles, which their keepers make and keep (`tenant_schema/keepers.sql`).

All of it is done in the caller's transaction. A role that was lent is to be taken back in it, or the
transaction to be rolled back: a membership would cost every backend a look.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

_KEEP = "SELECT service.keep_role(%s, %s)"
_RESTORE = "SELECT service.keep_role('restore', %s, %s, %s)"
_FOUND = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)"


def schema_of(tenant_id: UUID) -> str:
    """Return the name of the tenant's schema and role."""
    return f"t_{tenant_id.hex}"


def making_role(name: str, connections: int, verifier: str) -> str:
    """Return the statement that makes a role; all that is put into it are names and figures of ours."""
    return f"SELECT service.keep_role('make', '{name}', {connections}, '{verifier}');\n"


async def has_role(connection: AsyncConnection[Any], tenant_id: UUID) -> bool:
    """Return whether the tenant has a role."""
    row = await (await connection.execute(_FOUND, (schema_of(tenant_id),))).fetchone()
    return row is not None and row[0]


async def open_role(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    """Let the role log in."""
    await connection.execute(_KEEP, ("open", schema_of(tenant_id)))


async def close_role(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    """Let the role not log in any more."""
    await connection.execute(_KEEP, ("close", schema_of(tenant_id)))


async def lend(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    """Let this login do what the tenant's role may."""
    await connection.execute(_KEEP, ("lend", schema_of(tenant_id)))


async def take_back(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    """End what `lend` began."""
    await connection.execute(_KEEP, ("take_back", schema_of(tenant_id)))


async def restore(connection: AsyncConnection[Any], name: str, connections: int, verifier: str) -> None:
    """Give a role its password and its limit again, and take its own settings from it."""
    await connection.execute(_RESTORE, (name, connections, verifier))


async def drop_role(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    """Drop a role that owns nothing and is granted nothing any more."""
    await connection.execute(_KEEP, ("drop", schema_of(tenant_id)))
