"""The live context: what other services must know of a tenant on their hot paths, in a bucket they watch.

An entry says nothing about a person, and no name. It is written anew only by the facts that change it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from tenant_domain.registry import EVENTS
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

REVISION = 1
"""Another one has all entries written anew: for a change that no name of a fact or a field tells of."""


class Form(NamedTuple):
    """How a version of the service makes entries: of which facts and fields. A later one is greater.

    A version that knows more facts is the later one; `digest` tells two apart that know as many.
    """

    revision: int
    known: int
    digest: str

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Return the form that was written down as `text`; the least where that is none."""
        revision, _, rest = text.partition(".")
        known, _, digest = rest.partition(".")
        if not (revision.isdecimal() and known.isdecimal()):
            return cls(0, 0, "")
        return cls(int(revision), int(known), digest)

    def __str__(self) -> str:
        return f"{self.revision}.{self.known}.{self.digest}"


def _form() -> Form:
    known = sorted(f"{name} {fact.schema}" for name, fact in EVENTS.items() if name.startswith("tenant."))
    made_of = [*known, *sorted(FACTS), *TenantContext.__struct_fields__]
    digest = blake2b("\n".join(made_of).encode(), digest_size=6).hexdigest()
    return Form(REVISION, len(known) + len(FACTS), digest)


FORM = _form()
"""The form of this version. The relay puts it on each entry, so that a later version finds what it has to
write anew: entries that an earlier one made, or left as they were for a fact that it did not know."""

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
