"""Access of tenants to the database: whether their roles may log in, and the end of their sessions."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from handlers.adapters.effects import EffectFailed, PermanentlyFailed, Work
from handlers.adapters.roles import close_role, has_role, lend, open_role, schema_of
from handlers.adapters.schemas import Connect
from tenant_domain.values import Status

GRACE = 2.0
"""Seconds that a session which was told to end may take before that counts as failed."""

_LOOK = 0.005
"""Seconds between two looks whether it has."""

_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usename = %s"


class Access:
    """Closes and opens it. `connect` gives a connection that commits each statement by itself."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def close(self, work: Work) -> None:
        """Let the tenant's role not log in any more, and end its sessions."""
        async with self._connect() as connection:
            await _close(connection, work.tenant_id)

    async def open(self, work: Work) -> None:
        """Let the tenant's role log in."""
        async with self._connect() as connection:
            await _require_role(connection, work.tenant_id)
            await open_role(connection, work.tenant_id)

    async def withdraw(self, work: Work) -> None:
        """Close the access of a tenant that goes; one whose provisioning failed has none."""
        async with self._connect() as connection:
            if await has_role(connection, work.tenant_id):
                await _close(connection, work.tenant_id)

    async def restore(self, work: Work) -> None:
        """Open the access again of a tenant that stays, where it was open before."""
        if work.operation.input["former"] == Status.ACTIVE:
            await self.open(work)


async def _close(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    await _require_role(connection, tenant_id)
    await close_role(connection, tenant_id)
    while sessions := await _sessions(connection, tenant_id):
        await _end(connection, tenant_id, sessions)


async def _require_role(connection: AsyncConnection[Any], tenant_id: UUID) -> None:
    if not await has_role(connection, tenant_id):
        raise PermanentlyFailed("The tenant has no database role.")


async def _sessions(connection: AsyncConnection[Any], tenant_id: UUID) -> set[int]:
    cursor = await connection.execute(_SESSIONS, (schema_of(tenant_id),))
    return {row[0] for row in await cursor.fetchall()}


async def _end(connection: AsyncConnection[Any], tenant_id: UUID, sessions: set[int]) -> None:
    """Tell all sessions to end before waiting for any: the server looks only ten times a second itself.

    Ending a session takes belonging to its role, for that moment.
    """
    async with connection.transaction(force_rollback=True):
        await lend(connection, tenant_id)
        await connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) pid", (list(sessions),))
    deadline = asyncio.get_running_loop().time() + GRACE
    while sessions & await _sessions(connection, tenant_id):
        if asyncio.get_running_loop().time() > deadline:
            raise EffectFailed("A session of the tenant's role did not end in time.")
        await asyncio.sleep(_LOOK)
