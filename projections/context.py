"""The live context: what other services must know of a tenant on their hot paths, in a bucket they watch.

An entry says nothing about a person, and no name. It is written anew only by the facts that change it.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from tenant_domain.tenant import events
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Status


class TenantContext(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a tenant; `version` (of its stream) and `position` are of the last fact that changed it.

    `limits` are its quotas by resource. Of a tenant whose data is being destroyed, or is gone, there is only
    the status.
    """

    tenant_id: UUID
    status: Status
    plan: str | UnsetType = UNSET
    flags: dict[str, bool] | UnsetType = UNSET
    limits: dict[str, int] | UnsetType = UNSET
    version: int
    position: int


FACTS = frozenset(
    fact.name
    for fact in (
        events.ProvisioningStarted,
        events.DefaultsConfigured,
        events.Activated,
        events.ProvisioningFailed,
        events.ProvisioningRestarted,
        events.Suspended,
        events.Resumed,
        events.StatusReverted,
        events.PlanChanged,
        events.TerminationScheduled,
        events.TerminationCancelled,
        events.PurgeStarted,
        events.Purged,
    )
)
"""The stored names of the facts that can change an entry."""

_BARE = (Status.PURGING, Status.DELETED)


def context_of(tenant_id: UUID, state: Tenant, version: int, position: int) -> TenantContext:
    """Return the entry of a tenant whose last fact of `FACTS` is the event `version`, at `position`."""
    if state.status in _BARE:
        return TenantContext(tenant_id=tenant_id, status=state.status, version=version, position=position)
    return TenantContext(
        tenant_id=tenant_id,
        status=state.status,
        plan=state.plan,
        flags=state.flags,
        limits=state.quotas,
        version=version,
        position=position,
    )


def bare(entry: TenantContext) -> TenantContext:
    """Return an entry with the status alone: whoever looks for rights or limits finds none."""
    return TenantContext(
        tenant_id=entry.tenant_id, status=entry.status, version=entry.version, position=entry.position
    )
