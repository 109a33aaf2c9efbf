"""Events of a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from tenant_domain.authorisation import Authority
from tenant_domain.decision import Event, Upcaster
from tenant_domain.values import Personal, PersonalObject, PersonalTexts


class AdminContact(msgspec.Struct, frozen=True, kw_only=True):
    """The first admin of a tenant."""

    email: Personal
    name: Personal
    user_id: str | None = None


class ProvisioningStarted(Event, frozen=True, kw_only=True):
    """The tenant exists from now on, and is being made."""

    name: ClassVar[str] = "tenant.provisioning_started"
    schema: ClassVar[int] = 2
    operation_id: str
    tenant_name: str = msgspec.field(name="name")
    subdomain: str
    plan: str
    region: str
    admin: AdminContact
    trial_ends_at: datetime | None = None
    metadata: PersonalTexts = {}
    settings: PersonalObject = {}


class DefaultsConfigured(Event, frozen=True, kw_only=True):
    """The tenant has the quotas, flags and branding that its plan starts with."""

    name: ClassVar[str] = "tenant.defaults_configured"
    operation_id: str
    quotas: dict[str, int]
    flags: dict[str, bool]
    branding: dict[str, str]


class Activated(Event, frozen=True, kw_only=True):
    """The tenant is in service."""

    name: ClassVar[str] = "tenant.activated"
    operation_id: str


class ProvisioningFailed(Event, frozen=True, kw_only=True):
    """The tenant could not be made; nothing of it is left, and its subdomain is free again."""

    name: ClassVar[str] = "tenant.provisioning_failed"
    operation_id: str
    reason: str


class ProfileUpdated(Event, frozen=True, kw_only=True):
    """The fields that changed; in `settings` only the keys that changed, null for a removed one.

    `settings_after` is all that they come to: sealed values cannot be merged. Version 1 did not have it.
    """

    name: ClassVar[str] = "tenant.profile_updated"
    schema: ClassVar[int] = 2
    tenant_name: str | UnsetType = msgspec.field(name="name", default=UNSET)
    subdomain: str | UnsetType = UNSET
    metadata: PersonalTexts | UnsetType = UNSET
    settings: PersonalObject | UnsetType = UNSET
    settings_after: PersonalObject | UnsetType = UNSET


class Suspended(Event, frozen=True, kw_only=True):
    """The tenant is out of service; an operation closes all access to it. `by` is in whose name that was."""

    name: ClassVar[str] = "tenant.suspended"
    schema: ClassVar[int] = 2
    operation_id: str
    reason: Personal
    by: Authority = Authority.SERVICE


class SuspensionRaised(Event, frozen=True, kw_only=True):
    """What the tenant's own people suspended stays so in another name: they cannot resume it any more."""

    name: ClassVar[str] = "tenant.suspension_raised"
    reason: Personal
    by: Authority


class AccessClosed(Event, frozen=True, kw_only=True):
    """All access to the suspended tenant is closed."""

    name: ClassVar[str] = "tenant.access_closed"
    operation_id: str


class Resumed(Event, frozen=True, kw_only=True):
    """The tenant is in service again; an operation opens the access to it."""

    name: ClassVar[str] = "tenant.resumed"
    operation_id: str


class AccessOpened(Event, frozen=True, kw_only=True):
    """The access to the tenant is open."""

    name: ClassVar[str] = "tenant.access_opened"
    operation_id: str


class StatusReverted(Event, frozen=True, kw_only=True):
    """The operation of a suspension or a resumption was undone: the former status holds again."""

    name: ClassVar[str] = "tenant.status_reverted"
    operation_id: str
    status: str


class PlanChangeStarted(Event, frozen=True, kw_only=True):
    """A move to another plan is under way; one that is effective later holds the tenant only then."""

    name: ClassVar[str] = "tenant.plan_change_started"
    operation_id: str
    from_plan: str
    plan: str
    effective: Literal["now", "period_end"] = "now"
    effective_at: datetime


class PlanChangeBegun(Event, frozen=True, kw_only=True):
    """The time of a plan change that waited has come: its operation holds the tenant from now on."""

    name: ClassVar[str] = "tenant.plan_change_begun"
    operation_id: str


class PlanChanged(Event, frozen=True, kw_only=True):
    """The tenant is on another plan, with its quotas and flags."""

    name: ClassVar[str] = "tenant.plan_changed"
    operation_id: str
    from_plan: str
    plan: str
    quotas: dict[str, int]
    flags: dict[str, bool]


class PlanChangeRolledBack(Event, frozen=True, kw_only=True):
    """The move to `plan` did not come about; all is as it was on `from_plan`."""

    name: ClassVar[str] = "tenant.plan_change_rolled_back"
    operation_id: str
    from_plan: str
    plan: str
    reason: str


class TerminationScheduled(Event, frozen=True, kw_only=True):
    """The tenant is out of service for good; its data is purged at `purge_at` unless that is cancelled."""

    name: ClassVar[str] = "tenant.termination_scheduled"
    schema: ClassVar[int] = 2
    operation_id: str
    reason: Personal | None = None
    purge_at: datetime
    by: Authority = Authority.SERVICE


class TerminationCancelled(Event, frozen=True, kw_only=True):
    """The tenant is back, as it was before its termination."""

    name: ClassVar[str] = "tenant.termination_cancelled"
    operation_id: str
    status: str


class PurgeStarted(Event, frozen=True, kw_only=True):
    """From now on the tenant's data is being destroyed; nothing brings it back."""

    name: ClassVar[str] = "tenant.purge_started"
    operation_id: str


class Purged(Event, frozen=True, kw_only=True):
    """The tenant's data is destroyed; the certificate says what, and how that was verified."""

    name: ClassVar[str] = "tenant.purged"
    operation_id: str
    certificate_id: str
    certificate_sha256: str


class ProvisioningRestarted(Event, frozen=True, kw_only=True):
    """A tenant that could not be made is being made after all."""

    name: ClassVar[str] = "tenant.provisioning_restarted"
    operation_id: str


class OperationRepeated(Event, frozen=True, kw_only=True):
    """An operation that does something again holds the tenant."""

    name: ClassVar[str] = "tenant.operation_repeated"
    operation_id: str


class OperationReleased(Event, frozen=True, kw_only=True):
    """The operation that repeated something has ended without it, and holds the tenant no more."""

    name: ClassVar[str] = "tenant.operation_released"
    operation_id: str


class LegalHoldPlaced(Event, frozen=True, kw_only=True):
    """The tenant's data must not be destroyed until the hold is released."""

    name: ClassVar[str] = "tenant.legal_hold_placed"
    reason: Personal


class LegalHoldReleased(Event, frozen=True, kw_only=True):
    """The tenant's data may be destroyed again."""

    name: ClassVar[str] = "tenant.legal_hold_released"


EVENTS = (
    ProvisioningStarted,
    DefaultsConfigured,
    Activated,
    ProvisioningFailed,
    ProfileUpdated,
    Suspended,
    SuspensionRaised,
    AccessClosed,
    Resumed,
    AccessOpened,
    StatusReverted,
    PlanChangeStarted,
    PlanChangeBegun,
    PlanChanged,
    PlanChangeRolledBack,
    TerminationScheduled,
    TerminationCancelled,
    PurgeStarted,
    Purged,
    ProvisioningRestarted,
    OperationRepeated,
    OperationReleased,
    LegalHoldPlaced,
    LegalHoldReleased,
)


def _as_it_is(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a version 1, whose defaults and both of whose forms are known to who folds them.

    `metadata` and `settings` were sealed value by value; in whose name something was done, nobody noted.
    """
    return fields


UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    (ProvisioningStarted.name, 1): _as_it_is,
    (ProfileUpdated.name, 1): _as_it_is,
    (Suspended.name, 1): _as_it_is,
    (TerminationScheduled.name, 1): _as_it_is,
}
