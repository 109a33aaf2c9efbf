"""The watch over tenants' sessions and roles: what PostgreSQL lets everybody do, and what must not last.

A session may lift its own time limits, and a role may change its own password and settings; no right can be
taken away for that. So sessions that hold a transaction for too long are ended, or a temporary file, which a
cursor WITH HOLD keeps beyond its transaction; roles that were changed are put back. Ages are counted here,
by a clock that does not jump.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from psycopg import AsyncConnection

from handlers.adapters.keys import MasterKey
from handlers.adapters.roles import lend, restore
from handlers.adapters.schemas import Connect
from handlers.adapters.tasks import end, watched

log = structlog.get_logger()

ALL_ROLES = 10.0
"""Seconds after which all roles are looked at, although the server's statistics say that none has changed:
they come up to so much later."""

_MAY = """
SELECT pg_has_role('pg_read_all_stats', 'USAGE') AND pg_has_role('pg_signal_backend', 'USAGE'),
    has_column_privilege('pg_catalog.pg_authid', 'xmin', 'SELECT'),
    has_function_privilege('pg_ls_tmpdir()', 'EXECUTE')"""

_NAMES = "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename ~ '^t_[0-9a-f]{32}$'"

_SESSIONS = """
SELECT pid, usename, backend_start, xact_start, state_change, state LIKE 'idle in transaction%'
FROM pg_stat_activity
WHERE usename ~ '^t_[0-9a-f]{32}$' AND xact_start IS NOT NULL"""

_FILES = r"""
SELECT s.pid, s.usename, s.backend_start, f.name
FROM pg_ls_tmpdir() f JOIN pg_stat_activity s ON f.name LIKE 'pgsql\_tmp' || s.pid || '.%'
WHERE s.usename ~ '^t_[0-9a-f]{32}$'"""

_END = "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid"

_CHANGES = "SELECT pg_stat_get_tuples_updated('pg_catalog.pg_authid'::regclass)"

_NOTE = """
INSERT INTO service.tenant_roles (tenant_id, schema_oid, role_oid, role_xid)
SELECT substr(n.nspname, 3)::uuid, n.oid, r.oid, '0'
FROM pg_namespace n JOIN pg_roles r ON r.rolname = n.nspname
WHERE n.nspname ~ '^t_[0-9a-f]{32}$'
AND NOT EXISTS (SELECT FROM service.tenant_roles m WHERE m.tenant_id = substr(n.nspname, 3)::uuid)
ON CONFLICT DO NOTHING"""

_CHANGED = """
SELECT a.rolname FROM service.tenant_roles m
JOIN pg_catalog.pg_authid a ON a.rolname = 't_' || replace(m.tenant_id::text, '-', '')
WHERE a.xmin <> m.role_xid"""

_WITH_SETTINGS = """
SELECT DISTINCT r.rolname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
WHERE r.rolname ~ '^t_[0-9a-f]{32}$'"""


class WatchLimits(NamedTuple):
    """Limits of tenants' sessions, in seconds but `connections`; see the settings of these names."""

    transaction: float = 30.0
    idle: float = 10.0
    interval: float = 1.0
    connections: int = 20


class _Session(NamedTuple):
    pid: int
    role: str
    began: object
    transaction: object
    changed: object
    idle: bool


class _File(NamedTuple):
    pid: int
    role: str
    began: object
    name: str


class TenantWatch:
    """Looks from `start` to `stop`, database or not; any number of them may. `connect` is in autocommit."""

    def __init__(
        self,
        connect: Connect,
        key: MasterKey,
        registry: CollectorRegistry,
        limits: WatchLimits | None = None,
    ) -> None:
        self._connect, self._key, self._limits = connect, key, limits or WatchLimits()
        self._ended = Counter(
            "tenants_database_sessions_ended",
            "Sessions of tenants that held a transaction or a temporary file for too long, by why",
            ("why",),
            registry=registry,
        )
        self._restored = Counter(
            "tenants_database_roles_restored",
            "Roles of tenants whose password or settings were put back",
            registry=registry,
        )
        self._oldest = Gauge(
            "tenants_database_oldest_transaction_seconds",
            "Age of the oldest transaction of a tenant's session",
            registry=registry,
        )
        self._seen: dict[tuple[object, ...], float] = {}
        self._files: dict[_File, float] = {}
        self._changes: int | None = None
        self._looked_at_all = 0.0
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Begin; does not wait for the database."""
        self._tasks = [watched(self._run(), "watch over tenants' sessions")]

    async def stop(self) -> None:
        """Stop at once."""
        await end(*self._tasks)

    async def _run(self) -> None:
        while True:
            try:
                async with self._connect() as connection:
                    while True:
                        await self.look(connection)
                        await asyncio.sleep(self._limits.interval)
            except Exception as error:  # noqa: BLE001 - whatever a server says, the watch goes on
                log.warning("tenants' sessions not watched", error=type(error).__name__, why=str(error))
            await asyncio.sleep(self._limits.interval)

    async def look(self, connection: AsyncConnection[Any]) -> None:
        """Look once: end sessions, put roles back. Raises psycopg.Error."""
        row = await (await connection.execute(_MAY)).fetchone()
        assert row is not None
        sees_sessions, sees_roles, sees_files = row
        await self._look_at_sessions(connection, lent=not sees_sessions, files=sees_files)
        await self._look_at_roles(connection, changes=sees_roles)

    async def _look_at_sessions(self, connection: AsyncConnection[Any], *, lent: bool, files: bool) -> None:
        """End what holds on for too long. Without rights of its own, the roles are lent, for this look."""
        async with connection.transaction(force_rollback=True):
            if lent:
                for (name,) in await _rows(connection, _NAMES):
                    await lend(connection, UUID(name[2:]))
            sessions = [_Session(*row) for row in await _rows(connection, _SESSIONS)]
            too_long: list[tuple[_Session | _File, str]] = [*self._too_long(sessions)]
            if files:
                held = self._held([_File(*row) for row in await _rows(connection, _FILES)])
                too_long += ((file, "temporary file") for file in held)
            if too_long:
                await connection.execute(_END, ([session.pid for session, _ in too_long],))
        for session, why in too_long:
            self._ended.labels(why).inc()
            log.warning("tenant's session ended", tenant_id=str(UUID(session.role[2:])), why=why)

    def _too_long(self, sessions: Iterable[_Session]) -> list[tuple[_Session, str]]:
        now, oldest = asyncio.get_running_loop().time(), 0.0
        seen: dict[tuple[object, ...], float] = {}
        found: list[tuple[_Session, str]] = []
        for session in sessions:
            whole = (session.pid, session.began, session.transaction)
            pause = (*whole, session.changed)
            for key in (whole, pause):
                seen[key] = self._seen.get(key, now)
            age = now - seen[whole]
            oldest = max(oldest, age)
            if age > self._limits.transaction:
                found.append((session, "transaction"))
            elif session.idle and now - seen[pause] > self._limits.idle:
                found.append((session, "idle in transaction"))
        self._seen = seen
        self._oldest.set(oldest)
        return found

    def _held(self, files: Iterable[_File]) -> list[_File]:
        """Return those that are older than any transaction may be, one of each session."""
        now = asyncio.get_running_loop().time()
        self._files = {file: self._files.get(file, now) for file in files}
        old = [file for file, since in self._files.items() if now - since > self._limits.transaction]
        return list({(file.pid, file.began): file for file in old}.values())

    async def _look_at_roles(self, connection: AsyncConnection[Any], *, changes: bool) -> None:
        names = {name for (name,) in await _rows(connection, _WITH_SETTINGS)}
        [(count,)] = await _rows(connection, _CHANGES)
        now = asyncio.get_running_loop().time()
        if changes and (count != self._changes or now - self._looked_at_all > ALL_ROLES):
            await connection.execute(_NOTE)
            names |= {name for (name,) in await _rows(connection, _CHANGED)}
            self._changes, self._looked_at_all = count, now
        for name in sorted(names):
            verifier = await asyncio.to_thread(self._key.scram_verifier, UUID(name[2:]))
            with suppress(psycopg.errors.UndefinedObject):  # gone meanwhile
                await restore(connection, name, self._limits.connections, verifier)
                self._restored.inc()
                log.warning("tenant's role put back", tenant_id=str(UUID(name[2:])))


async def _rows(connection: AsyncConnection[Any], query: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode())).fetchall()
