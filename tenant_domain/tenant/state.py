"""State of a tenant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from tenant_domain.authorisation import Authority
from tenant_domain.decision import Event, Unfolded
from tenant_domain.refusals import TenantGone, TenantNotFound
from tenant_domain.tenant.events import (
    AccessClosed,
    AccessOpened,
    Activated,
    AdminContact,
    DefaultsConfigured,
    LegalHoldPlaced,
    LegalHoldReleased,
    OperationReleased,
    OperationRepeated,
    PlanChangeBegun,
    PlanChanged,
    PlanChangeRolledBack,
    PlanChangeStarted,
    ProfileUpdated,
    ProvisioningFailed,
    ProvisioningRestarted,
    ProvisioningStarted,
    Purged,
    PurgeStarted,
    Resumed,
    StatusReverted,
    Suspended,
    SuspensionRaised,
    TerminationCancelled,
    TerminationScheduled,
)
from tenant_domain.values import Json, Personal, PersonalObject, PersonalTexts, Status


class PlanChange(msgspec.Struct, frozen=True, kw_only=True):
    """A move to another plan that is under way, or waits for its time."""

    operation_id: UUID
    plan: str
    effective_at: datetime


class Termination(msgspec.Struct, frozen=True, kw_only=True):
    """A termination that is under way: when the data goes, and the status that a cancellation brings back.

    `by` is in whose name it was begun, `reason` why.
    """

    operation_id: UUID
    purge_at: datetime
    former: Status
    by: Authority = Authority.SERVICE
    reason: Personal | None = None


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant. `operation_id` names the operation that holds it; None when none does."""

    status: Status
    name: str
    subdomain: str
    plan: str
    region: str
    admin: AdminContact
    trial_ends_at: datetime | None = None
    metadata: PersonalTexts = {}
    settings: PersonalObject = {}
    quotas: dict[str, int] = {}
    flags: dict[str, bool] = {}
    branding: dict[str, str] = {}
    operation_id: UUID | None = None
    suspension_reason: Personal | None = None
    """Why it is suspended; kept while a resumption can still be undone."""
    suspended_by: Authority = Authority.SERVICE
    """In whose name it is suspended, where it is."""
    plan_change: PlanChange | None = None
    changed_by: UUID | None = None
    """The operation that brought the present plan; it may still be removing its backup."""
    termination: Termination | None = None
    legal_hold: Personal | None = None
    """Why its data must not be destroyed; None when it may be."""


def living(state: Tenant | None, tenant_id: UUID) -> Tenant:
    """Return the state of a tenant that exists.

    Raises TenantNotFound when it never did, TenantGone when it was deleted.
    """
    if state is None:
        raise TenantNotFound(f"There is no tenant {tenant_id}; provision it first.")
    if state.status is Status.DELETED:
        raise TenantGone(f"The tenant {tenant_id} was deleted.")
    return state


def merged(settings: dict[str, Json], changes: dict[str, Json]) -> dict[str, Json]:
    """Return `settings` with the given keys set, and those given as None removed."""
    return {key: value for key, value in {**settings, **changes}.items() if value is not None}


def _born(event: ProvisioningStarted) -> Tenant:
    return Tenant(
        status=Status.PROVISIONING,
        name=event.tenant_name,
        subdomain=event.subdomain,
        plan=event.plan,
        region=event.region,
        admin=event.admin,
        trial_ends_at=event.trial_ends_at,
        metadata=event.metadata,
        settings=event.settings,
        operation_id=UUID(event.operation_id),
    )


def _restarted(state: Tenant, event: ProvisioningRestarted) -> Tenant:
    return replace(state, status=Status.PROVISIONING, operation_id=UUID(event.operation_id))


def _profile(state: Tenant, event: ProfileUpdated) -> Tenant:
    return replace(
        state,
        name=state.name if event.tenant_name is UNSET else event.tenant_name,
        subdomain=state.subdomain if event.subdomain is UNSET else event.subdomain,
        metadata=state.metadata if event.metadata is UNSET else event.metadata,
        settings=_settings(state, event),
    )


def _settings(state: Tenant, event: ProfileUpdated) -> dict[str, Json]:
    if event.settings_after is not UNSET:
        return event.settings_after
    return state.settings if event.settings is UNSET else merged(state.settings, event.settings)


def _suspended(state: Tenant, event: Suspended) -> Tenant:
    return replace(
        state,
        status=Status.SUSPENDED,
        operation_id=UUID(event.operation_id),
        suspension_reason=event.reason,
        suspended_by=event.by,
    )


def _suspension_raised(state: Tenant, event: SuspensionRaised) -> Tenant:
    return replace(state, suspension_reason=event.reason, suspended_by=event.by)


def _resumed(state: Tenant, event: Resumed) -> Tenant:
    return replace(state, status=Status.ACTIVE, operation_id=UUID(event.operation_id))


def _defaults(state: Tenant, event: DefaultsConfigured) -> Tenant:
    return replace(state, quotas=event.quotas, flags=event.flags, branding=event.branding)


def _reverted(state: Tenant, event: StatusReverted) -> Tenant:
    status = Status(event.status)
    reason = state.suspension_reason if status is Status.SUSPENDED else None
    return replace(state, status=status, operation_id=None, suspension_reason=reason)


def _closed(state: Tenant, _: AccessClosed) -> Tenant:
    return replace(state, operation_id=None)


def _opened(state: Tenant, _: AccessOpened) -> Tenant:
    return replace(state, operation_id=None, suspension_reason=None)


def _plan_change_started(state: Tenant, event: PlanChangeStarted) -> Tenant:
    operation_id = UUID(event.operation_id)
    change = PlanChange(operation_id=operation_id, plan=event.plan, effective_at=event.effective_at)
    held = operation_id if event.effective == "now" else state.operation_id
    return replace(state, plan_change=change, operation_id=held)


def _plan_changed(state: Tenant, event: PlanChanged) -> Tenant:
    ended = _plan_change_ended(state, event)
    changed_by = UUID(event.operation_id)
    return replace(ended, plan=event.plan, quotas=event.quotas, flags=event.flags, changed_by=changed_by)


def _plan_change_ended(state: Tenant, event: PlanChanged | PlanChangeRolledBack) -> Tenant:
    held = None if state.operation_id == UUID(event.operation_id) else state.operation_id
    return replace(state, plan_change=None, operation_id=held)


def _scheduled(state: Tenant, event: TerminationScheduled) -> Tenant:
    operation_id = UUID(event.operation_id)
    ending = Termination(
        operation_id=operation_id,
        purge_at=event.purge_at,
        former=state.status,
        by=event.by,
        reason=event.reason,
    )
    return replace(state, status=Status.PENDING_DELETION, operation_id=operation_id, termination=ending)


def _termination_cancelled(state: Tenant, event: TerminationCancelled) -> Tenant:
    return replace(state, status=Status(event.status), operation_id=None, termination=None)


_FOLDS: Mapping[type[Event], Callable[[Tenant, Any], Tenant]] = {
    ProfileUpdated: _profile,
    DefaultsConfigured: _defaults,
    Activated: lambda state, _: replace(state, status=Status.ACTIVE, operation_id=None),
    ProvisioningFailed: lambda state, _: replace(state, status=Status.FAILED, operation_id=None),
    Suspended: _suspended,
    SuspensionRaised: _suspension_raised,
    AccessClosed: _closed,
    Resumed: _resumed,
    AccessOpened: _opened,
    StatusReverted: _reverted,
    PlanChangeStarted: _plan_change_started,
    PlanChangeBegun: lambda state, event: replace(state, operation_id=UUID(event.operation_id)),
    PlanChanged: _plan_changed,
    PlanChangeRolledBack: _plan_change_ended,
    TerminationScheduled: _scheduled,
    TerminationCancelled: _termination_cancelled,
    PurgeStarted: lambda state, _: replace(state, status=Status.PURGING),
    Purged: lambda state, _: replace(state, status=Status.DELETED, operation_id=None),
    ProvisioningRestarted: _restarted,
    OperationRepeated: lambda state, event: replace(state, operation_id=UUID(event.operation_id)),
    OperationReleased: lambda state, _: replace(state, operation_id=None),
    LegalHoldPlaced: lambda state, event: replace(state, legal_hold=event.reason),
    LegalHoldReleased: lambda state, _: replace(state, legal_hold=None),
}


def evolve(state: Tenant | None, event: Event) -> Tenant | None:
    """Return the state after `event`. Raises Unfolded for one that is of no aggregate of this kind."""
    if isinstance(event, ProvisioningStarted):
        return _born(event)
    fold = _FOLDS.get(type(event))
    if fold is None:
        raise Unfolded(event)
    return None if state is None else fold(state, event)
