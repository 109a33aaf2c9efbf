"""Things of tenants that are gone: what no run works on, and no tenant owns, any more.

A worker that sleeps while its run is turned back, does its step late and then dies cannot take that back, and
nobody else knows of it. What it leaves has the tenant's name, so it can be found.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from handlers.adapters.bucket_names import Kind
from handlers.adapters.effects import EffectFailed
from handlers.bootstrap.adapters import buckets_of
from handlers.cli.findings.finding import Finding
from handlers.settings import Settings
from handlers.store.connections import Connections
from handlers.store.packing import uuids
from projections.tenants import MODEL

WHAT = "leftovers"

MOST_NAMED = 5
"""Leftovers that a finding names."""

REMOVE = (
    "No run will remove them, unless a parked one is retried (`tenantctl operations list --status parked`)."
    " Look at them, then remove them: DROP SCHEMA … CASCADE; DROP OWNED BY …; DROP ROLE …; the bucket."
)

LISTING = "Look at TENANTS_OBJECTS_URL, and whether its keys may list all buckets."

_LIVE = b"SELECT generation FROM service.projections WHERE name = 'tenants' AND live"

# Roles and buckets may be other databases' and other services': only those of tenants known here count.
_LEFT = """
WITH things (kind, tenant_id) AS MATERIALIZED (
    SELECT 'schema', substr(nspname, 3)::uuid FROM pg_namespace WHERE nspname ~ '^t_[0-9a-f]{{32}}$'
    UNION ALL SELECT 'role', substr(rolname, 3)::uuid FROM pg_roles WHERE rolname ~ '^t_[0-9a-f]{{32}}$'
    UNION ALL SELECT 'bucket', unnest(%s)
    UNION ALL SELECT 'export', unnest(%s)
)
SELECT g.kind, g.tenant_id, r.status
FROM things g LEFT JOIN service.{tenants} r ON r.stream_id = g.tenant_id
WHERE NOT EXISTS (SELECT FROM service.saga_agenda a WHERE a.tenant_id = g.tenant_id) AND CASE
    WHEN r.status IS NULL THEN g.kind = 'schema'
    WHEN g.kind = 'export' THEN r.status NOT IN ('pending_deletion', 'purging')
    ELSE r.status IN ('deleted', 'failed') END
ORDER BY g.tenant_id, g.kind"""


class Leftover(NamedTuple):
    """A `schema`, `role`, `bucket` or `export` (its bucket); `status` is None of one that nobody knows."""

    kind: str
    tenant_id: UUID
    status: str | None

    @property
    def name(self) -> str:
        """What it is called, without a prefix that the settings may give to buckets."""
        head = {"bucket": "t-", "export": "x-"}.get(self.kind, "t_")
        return f"{self.kind} {head}{self.tenant_id.hex}"


async def leftovers(pool: Connections, chosen: Settings) -> Finding:
    """Look for what is left of tenants that are gone. Raises StoreError.

    What there is is looked at before who is there, so nothing of a tenant that comes meanwhile is among it.
    """
    live = await pool.fetch(_LIVE, ())
    if not live:
        return Finding(WHAT, "look", "nobody knows which tenants there are", "Start the read models first.")
    own: list[UUID] = []
    exports: list[UUID] = []
    unseen = None
    try:
        own, exports = await _owners(chosen, "t"), await _owners(chosen, "x")
    except EffectFailed as error:
        unseen = str(error)
    query = _LEFT.format(tenants=MODEL.table(live[0][0]))
    rows = await pool.fetch(query.encode(), (uuids(own), uuids(exports)))
    return _told([Leftover._make(row) for row in rows], unseen)


def _told(left: list[Leftover], unseen: str | None) -> Finding:
    if left:
        names = ", ".join(each.name for each in left[:MOST_NAMED])
        return Finding(WHAT, "look", f"{len(left)} things belong to tenants that are gone: {names}", REMOVE)
    if unseen:
        return Finding(WHAT, "look", f"the buckets cannot be listed: {unseen}", LISTING)
    return Finding(WHAT, "ok", "nothing is left of tenants that are gone")


async def _owners(chosen: Settings, kind: Kind) -> list[UUID]:
    places = buckets_of(chosen, kind)
    try:
        return await places.tenants()
    finally:
        await places.close()
