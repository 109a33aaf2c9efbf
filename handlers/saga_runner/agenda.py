"""The agenda: which runs are due, and the one lease under which a worker holds the runs it took.

A lease is a row of saga_workers: as long as it stands, the worker's runs are its own; anybody may delete one
that nobody renews, and takes the runs of workers without one. So no two workers ever hold the same run. Who
watches a lease counts by its own monotonic clock how long it was not renewed: the times in rows are the
server's, whose clock may jump (decision 0029).
All statements go over a connection of their own, so a renewal never waits behind the work it protects.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from handlers.adapters.standstill import Standstill
from handlers.store.connections import LASTING
from handlers.store.own_connection import OwnConnection
from handlers.store.watched import WatchedConnection

HORIZON = 20_000
"""How many due runs are weighed against each other in one look: some ten milliseconds."""

# One run of each tenant goes before anybody's second one, whoever has how many.
_TAKE = """
WITH busy AS MATERIALIZED (
    SELECT tenant_id, count(*) AS runs FROM service.saga_agenda WHERE owner IS NOT NULL GROUP BY tenant_id
), due AS MATERIALIZED (
    SELECT operation_id, tenant_id, due_at FROM service.saga_agenda
    WHERE owner IS NULL AND due_at <= %(now)s ORDER BY due_at LIMIT %(horizon)s
), queued AS (
    SELECT operation_id, due_at, row_number() OVER (PARTITION BY tenant_id ORDER BY due_at)
        + coalesce(busy.runs, 0) AS turn
    FROM due LEFT JOIN busy USING (tenant_id)
), chosen AS MATERIALIZED (
    SELECT operation_id FROM queued WHERE turn <= %(per_tenant)s ORDER BY turn, due_at LIMIT %(limit)s
), locked AS MATERIALIZED (
    SELECT operation_id FROM service.saga_agenda
    WHERE owner IS NULL AND operation_id IN (SELECT operation_id FROM chosen) FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE service.saga_agenda a SET owner = %(owner)s
FROM locked d
WHERE a.operation_id = d.operation_id
    AND EXISTS (SELECT FROM service.saga_workers w WHERE w.owner = %(owner)s)
RETURNING a.operation_id, a.tenant_id, a.kind, (
    SELECT e.state FROM service.events e WHERE e.originator_id = a.operation_id AND e.originator_version = 1)
"""
_HASTEN = """
UPDATE service.saga_agenda a SET due_at = %(now)s
WHERE a.owner IS NULL AND a.due_at > %(far)s AND (
    SELECT e.topic FROM service.events e WHERE e.originator_id = a.operation_id
    ORDER BY e.originator_version DESC LIMIT 1) <> 'operation.step_scheduled'
"""
_OWNS = "SELECT FROM service.saga_agenda WHERE operation_id = %(operation)s AND owner = %(owner)s"
_OTHERS = """
SELECT w.owner, w.lease_until, w.pid IS NULL OR EXISTS (
    SELECT FROM pg_stat_activity a WHERE a.pid = w.pid AND a.backend_start = w.backend_start)
FROM service.saga_workers w WHERE w.owner <> %(owner)s
"""
_BURY = "DELETE FROM service.saga_workers WHERE owner = %(dead)s AND lease_until = %(until)s"
_PUT_OFF = """
UPDATE service.saga_agenda SET owner = NULL, due_at = %(due)s
WHERE operation_id = %(operation)s AND owner = %(owner)s
"""
_FREE = """
UPDATE service.saga_agenda SET owner = NULL WHERE operation_id IN (
    SELECT a.operation_id FROM service.saga_agenda a
    WHERE a.owner IS NOT NULL AND NOT EXISTS (SELECT FROM service.saga_workers w WHERE w.owner = a.owner)
    FOR NO KEY UPDATE SKIP LOCKED)
"""
_LET_GO = """
UPDATE service.saga_agenda SET owner = NULL WHERE owner = %(owner)s AND operation_id <> ALL (%(known)s)
"""
_REGISTER = """
INSERT INTO service.saga_workers (owner, lease_until, pid, backend_start)
SELECT %(owner)s, clock_timestamp() + %(ttl)s, a.pid, a.backend_start
FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()
"""
_RENEW = """
UPDATE service.saga_workers w
SET lease_until = clock_timestamp() + %(ttl)s, pid = a.pid, backend_start = a.backend_start
FROM pg_stat_activity a WHERE a.pid = pg_backend_pid() AND w.owner = %(owner)s
"""
_LEAVE = "DELETE FROM service.saga_workers WHERE owner = %(owner)s"

_PATIENCE = "5s"
"""How long a statement may take: all of them are short, so beyond it something is wrong."""


class Due(NamedTuple):
    """A run that was taken; `started` is the stored body of its first event."""

    operation_id: UUID
    tenant_id: UUID
    kind: str
    started: bytes | None


class Agenda:
    """The agenda in the database. Raises psycopg.OperationalError while there is none."""

    def __init__(self, postgres_url: str, lease: timedelta) -> None:
        self._url, self._lease = postgres_url, lease
        self._connection = OwnConnection(self._connect)
        seconds = lease.total_seconds()
        self._still, self._gone = seconds, seconds / 2
        self._others = Standstill[UUID](seconds / 6)

    @property
    def standing(self) -> bool:
        """Whether the connection stands under which others see that this worker lives."""
        return self._connection.standing is not None

    async def register(self, owner: UUID) -> None:
        """Begin a lease."""
        connection = await self._connected()
        await connection.execute(_REGISTER, {"owner": owner, "ttl": self._lease})

    async def renew(self, owner: UUID) -> bool:
        """Renew the lease; returns False when somebody ended it and may have taken its runs."""
        connection = await self._connected()
        renewed = await connection.execute(_RENEW, {"owner": owner, "ttl": self._lease})
        return renewed.rowcount == 1

    async def take(self, owner: UUID, now: datetime, limit: int, per_tenant: int) -> list[Due]:
        """Take up to `limit` runs that are due at `now`; none without a lease.

        The tenants' turns come round: the longest due run of each, then the next of each. A tenant that has
        `per_tenant` runs at work has to wait.
        """
        connection = await self._connected()
        wanted = {
            "owner": owner,
            "now": now,
            "limit": limit,
            "per_tenant": per_tenant,
            "horizon": HORIZON,
        }
        taken = await connection.execute(_TAKE, wanted, binary=True)
        return [Due(*row) for row in await taken.fetchall()]

    async def hasten(self, now: datetime, far: datetime) -> int:
        """Have runs that wait for no time that they were told be due at `now`, if not before `far`.

        No try, and no short wait, is so far away: the clock that said so was ahead, and has been put back.
        Returns how many there were.
        """
        connection = await self._connected()
        return (await connection.execute(_HASTEN, {"now": now, "far": far})).rowcount

    async def owns(self, owner: UUID, operation_id: UUID) -> bool:
        """Return whether the run is on the agenda as the worker's."""
        connection = await self._connected()
        found = await connection.execute(_OWNS, {"owner": owner, "operation": operation_id})
        return found.rowcount == 1

    async def put_off(self, owner: UUID, operation_id: UUID, due: datetime) -> None:
        """Give a run back as it is, for whoever takes it from `due` on."""
        connection = await self._connected()
        await connection.execute(_PUT_OFF, {"owner": owner, "operation": operation_id, "due": due})

    async def free(self, owner: UUID, known: Collection[UUID]) -> int:
        """End the leases of the dead; returns how many runs became free.

        Dead is who did not renew for the length of a lease, or for half of it with its connection gone.

        So do runs of `owner` that are not among those it is `known` to work on: when the answer that gives
        it a run is lost, nobody else would ever take that run.
        """
        connection = await self._connected()
        await connection.execute(_LET_GO, {"owner": owner, "known": list(known)})
        others = await (await connection.execute(_OTHERS, {"owner": owner}, binary=True)).fetchall()
        still = self._others.look({each: until for each, until, _ in others})
        for each, until, stands in others:
            if still[each] >= (self._still if stands else self._gone):
                await connection.execute(_BURY, {"dead": each, "until": until})
        return (await connection.execute(_FREE)).rowcount

    async def leave(self, owner: UUID) -> None:
        """Give back the lease and all runs."""
        connection = await self._connected()
        await connection.execute(_LEAVE, {"owner": owner})
        await connection.execute(_FREE)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _connected(self) -> WatchedConnection:
        return await self._connection.get()

    async def _connect(self) -> WatchedConnection:
        # What is lost in a crash of the server is taken anew: nothing needs to wait for its disk.
        options = f"-c synchronous_commit=off -c statement_timeout={_PATIENCE} -c enable_seqscan=off"
        return await WatchedConnection.connect(self._url, options=options, **LASTING)
