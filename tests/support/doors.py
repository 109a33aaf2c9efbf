"""The doors through which a tenant is reached, watched from outside: which stand open, and since when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias
from uuid import UUID

import httpx
import psycopg
from nats.aio.client import Client
from nats.js.kv import KeyValue

from handlers.adapters.keys import MasterKey
from handlers.adapters.schemas import schema_of
from handlers.http_edge.tokens import Signer
from tests.support.waiting import PATIENCE, within

DOORS = ("role", "sessions", "http", "context")
PAUSE = 0.005
"""Seconds between two looks at a door that has no other sign."""

Seen: TypeAlias = dict[tuple[str, UUID], float]
"""When a door of a tenant was first seen as wanted (`time.perf_counter`)."""

_ROLES = """
SELECT substring(rolname from 3)::uuid, rolcanlogin,
    EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = rolname)
FROM pg_roles WHERE rolname = ANY (%s)"""


class Doors:
    """The doors of some tenants; each has a session of its own in the database while they are open."""

    def __init__(
        self,
        tenants: Sequence[UUID],
        *,
        postgres_url: str,
        http: httpx.AsyncClient,
        nc: Client,
        key: MasterKey,
        signer: Signer,
        bucket: str = "TENANT_CONTEXT",
    ) -> None:
        self.tenants = tenants
        self._url, self._http, self._nc, self._key, self._bucket = postgres_url, http, nc, key, bucket
        self._tokens = {
            tenant: signer.sign(user="usr_ada", role="member", tenant=str(tenant)) for tenant in tenants
        }

    @asynccontextmanager
    async def sessions(self) -> AsyncGenerator[None]:
        """Hold a session as each tenant, idle like that of an application."""
        async with AsyncExitStack() as held:
            for tenant in self.tenants:
                session = await self.log_in(tenant)
                held.push_async_callback(session.close)
            yield

    async def log_in(self, tenant: UUID) -> psycopg.AsyncConnection[Any]:
        """Return a session as the tenant. Raises psycopg.OperationalError when it is not let in."""
        password = self._key.database_password(tenant)
        return await psycopg.AsyncConnection.connect(
            self._url, user=schema_of(tenant), password=password, autocommit=True
        )

    async def status_over_http(self, tenant: UUID) -> int:
        """Return what a member of the tenant is answered."""
        token = {"Authorization": f"Bearer {self._tokens[tenant]}"}
        return (await self._http.get(f"/api/v1/tenants/{tenant}", headers=token)).status_code

    async def seen(self, *, closed: bool) -> Seen:
        """Return when each door of each tenant was seen closed, or open; waits until all are.

        Sessions do not come back by themselves: when open, that door is not looked at.
        """
        seen: Seen = {}
        async with (
            within(f"all doors to be {'closed' if closed else 'open'}"),
            asyncio.TaskGroup() as watching,
        ):
            watching.create_task(self._watch_database(seen, closed))
            watching.create_task(self._watch_context(seen, "suspended" if closed else "active"))
            for tenant in self.tenants:
                watching.create_task(self._watch_http(seen, tenant, 403 if closed else 200))
        return seen

    async def with_sessions(self) -> set[UUID]:
        """Return the tenants that have a session in the database."""
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as looking:
            return {tenant for tenant, _, has_session in await self._looked(looking) if has_session}

    async def _looked(self, looking: psycopg.AsyncConnection[Any]) -> list[tuple[UUID, bool, bool]]:
        roles = [schema_of(tenant) for tenant in self.tenants]
        return await (await looking.execute(_ROLES, (roles,))).fetchall()

    async def _watch_database(self, seen: Seen, closed: bool) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as looking:
            wanted = {("role", tenant) for tenant in self.tenants}
            wanted |= {("sessions", tenant) for tenant in self.tenants} if closed else set()
            while not wanted <= seen.keys():
                for tenant, may_log_in, has_session in await self._looked(looking):
                    _note(seen, "role", tenant, may_log_in != closed)
                    _note(seen, "sessions", tenant, closed and not has_session)
                await asyncio.sleep(PAUSE)

    async def _watch_http(self, seen: Seen, tenant: UUID, wanted: int) -> None:
        while ("http", tenant) not in seen:
            _note(seen, "http", tenant, await self.status_over_http(tenant) == wanted)
            await asyncio.sleep(PAUSE * max(1.0, len(self.tenants) / 5))

    async def _watch_context(self, seen: Seen, wanted: str) -> None:
        bucket = await self._nc.jetstream(timeout=PATIENCE).key_value(self._bucket)
        watcher = await bucket.watchall()
        left = set(self.tenants)
        try:
            while left:
                entry = await watcher.updates(timeout=PATIENCE)
                if not isinstance(entry, KeyValue.Entry) or not entry.value or not _of_any(left, entry.key):
                    continue
                tenant = UUID(entry.key)
                if json.loads(entry.value)["status"] == wanted:
                    _note(seen, "context", tenant, True)
                    left.discard(tenant)
        finally:
            await watcher.stop()


def _of_any(tenants: Collection[UUID], key: str) -> bool:
    return any(str(tenant) == key for tenant in tenants)


def _note(seen: Seen, door: str, tenant: UUID, as_wanted: bool) -> None:
    if as_wanted:
        seen.setdefault((door, tenant), time.perf_counter())
