"""Decisions about a tenant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import UNSET

from tenant_domain.catalogue import Policy, default_branding
from tenant_domain.decision import Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.operation import decide as operation
from tenant_domain.operation.state import Operation
from tenant_domain.refusals import (
    InvalidCommand,
    InvalidTransition,
    LegalHold,
    OperationInProgress,
    QuotaExceeded,
    TenantExists,
)
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Claim, Release
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant.commands import (
    CancelTermination,
    PlaceLegalHold,
    Provision,
    ReleaseLegalHold,
    Resume,
    Suspend,
    Terminate,
    UpdateProfile,
    Upgrade,
)
from tenant_domain.tenant.events import (
    AccessClosed,
    AccessOpened,
    Activated,
    AdminContact,
    DefaultsConfigured,
    LegalHoldPlaced,
    LegalHoldReleased,
    OperationReleased,
    PlanChangeBegun,
    PlanChanged,
    PlanChangeRolledBack,
    PlanChangeStarted,
    ProfileUpdated,
    ProvisioningFailed,
    ProvisioningStarted,
    Purged,
    PurgeStarted,
    Resumed,
    StatusReverted,
    Suspended,
    TerminationCancelled,
    TerminationScheduled,
)
from tenant_domain.tenant.state import PlanChange, Tenant, Termination, living, merged
from tenant_domain.values import Json, Status, json_size, same_json

PROVISIONING = ("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate")
SUSPENSION = ("close_access",)
RESUMPTION = ("open_access",)
UPGRADE = ("validate_upgrade", "backup_state", "apply_changes", "verify", "rollback_if_needed")
TERMINATION = ("suspend", "data_preservation", "cleanup", "secure_deletion")

HELD = "A legal hold forbids to go on."
"""Why a termination is parked that a hold stops; the hold's own reason stands in the tenant."""


def ref(tenant_id: UUID) -> Ref:
    """Return the stream of a tenant."""
    return Ref("tenant", tenant_id)


def provision(command: Provision, world: World, ctx: Context) -> Decision:
    """Begin to make a tenant: claim its subdomain, start its provisioning."""
    if world.get(ref(ctx.tenant_id), Tenant) is not None:
        raise TenantExists(f"The tenant id {ctx.tenant_id} is in use, or was used before.")
    region = command.region or ctx.policy.default_region
    check_offer(command.plan, region, command.subdomain, ctx.policy)
    settings = merged({}, dict(command.settings))
    _check_settings(settings, ctx.policy)
    claimed = _claim(command.subdomain, world, ctx)
    trial = ctx.now + timedelta(days=command.trial_days) if command.trial_days else None
    started = ProvisioningStarted(
        operation_id=str(ctx.operation_id),
        tenant_name=command.name,
        subdomain=command.subdomain,
        plan=command.plan,
        region=region,
        admin=AdminContact(email=command.admin.email, name=command.admin.name, user_id=command.admin.user_id),
        trial_ends_at=trial,
        metadata=command.metadata,
        settings=settings,
    )
    return _with_operation(started, "provisioning", PROVISIONING, ctx, claimed)


def update_profile(command: UpdateProfile, world: World, ctx: Context) -> Decision:
    """Change the fields that are given and differ; when none differs, nothing happens."""
    tenant = _living(world, ctx)
    require_free(tenant)
    _require(tenant, command.name_, Status.ACTIVE, Status.SUSPENDED)
    moved = command.subdomain is not None and command.subdomain != tenant.subdomain
    claims: tuple[NewEvent, ...] = ()
    if moved and command.subdomain is not None:
        _check_reserved(command.subdomain, ctx.policy)
        claims = (*_release(tenant.subdomain, world, ctx), *_claim(command.subdomain, world, ctx))
    changes = {
        key: value
        for key, value in (command.settings or {}).items()
        if not same_json(tenant.settings.get(key), value)
    }
    if changes:
        _check_settings(merged(tenant.settings, changes), ctx.policy)
    renamed = command.name is not None and command.name != tenant.name
    relabelled = command.metadata is not None and command.metadata != tenant.metadata
    if not (moved or changes or renamed or relabelled):
        return Decision()
    updated = ProfileUpdated(
        tenant_name=command.name if renamed and command.name is not None else UNSET,
        subdomain=command.subdomain if moved and command.subdomain is not None else UNSET,
        metadata=command.metadata if relabelled and command.metadata is not None else UNSET,
        settings=changes or UNSET,
    )
    return Decision((NewEvent(ref(ctx.tenant_id), updated), *claims))


def suspend(command: Suspend, world: World, ctx: Context) -> Decision:
    """Take an active tenant out of service; an operation then closes all access."""
    tenant = _living(world, ctx)
    require_free(tenant)
    if tenant.status is Status.SUSPENDED:
        return Decision()
    _require(tenant, command.name_, Status.ACTIVE)
    suspended = Suspended(operation_id=str(ctx.operation_id), reason=command.reason)
    return _with_operation(suspended, "suspension", SUSPENSION, ctx)


def resume(command: Resume, world: World, ctx: Context) -> Decision:
    """Put a suspended tenant back into service; an operation then opens the access."""
    tenant = _living(world, ctx)
    require_free(tenant)
    if tenant.status is Status.ACTIVE:
        return Decision()
    _require(tenant, command.name_, Status.SUSPENDED)
    return _with_operation(Resumed(operation_id=str(ctx.operation_id)), "resumption", RESUMPTION, ctx)


def upgrade(command: Upgrade, world: World, ctx: Context) -> Decision:
    """Begin a move to another plan; one for the period's end waits, and holds the tenant only then."""
    tenant = _living(world, ctx)
    require_free(tenant)
    _require(tenant, command.name_, Status.ACTIVE, Status.SUSPENDED)
    check_plan(command.plan, ctx.policy)
    effective_at = ctx.now if command.effective == "now" else period_end(ctx.now)
    if tenant.plan_change is not None:
        return _same_change(tenant.plan_change, command.plan, effective_at)
    if command.plan == tenant.plan:
        return Decision()
    started = PlanChangeStarted(
        operation_id=str(ctx.operation_id),
        from_plan=tenant.plan,
        plan=command.plan,
        effective=command.effective,
        effective_at=effective_at,
    )
    payload = {"from_plan": tenant.plan, "plan": command.plan, "effective_at": effective_at.isoformat()}
    return _with_operation(started, "upgrade", UPGRADE, ctx, payload=payload)


def terminate(command: Terminate, world: World, ctx: Context) -> Decision:
    """Take the tenant out of service for good, and schedule the purge of its data."""
    tenant = _living(world, ctx)
    require_free(tenant)
    _require(tenant, command.name_, Status.ACTIVE, Status.SUSPENDED, Status.FAILED)
    if command.confirm_subdomain != tenant.subdomain:
        raise InvalidCommand.of("confirm_subdomain", "must be the tenant's subdomain, to confirm its end")
    if tenant.legal_hold is not None:
        # Its reason may name a person, and a refusal is recorded.
        raise LegalHold("A legal hold forbids it; its reason stands in the tenant's history.")
    purge_at = ctx.now + timedelta(days=command.retain_days)
    scheduled = TerminationScheduled(
        operation_id=str(ctx.operation_id), reason=command.reason, purge_at=purge_at
    )
    waiting = _waiting_change(tenant, world)
    undone = () if waiting is None else operation.turn_back(waiting, "cancelled", "The tenant is terminated.")
    payload = {"purge_at": purge_at.isoformat(), "former": tenant.status.value}
    return _with_operation(scheduled, "termination", TERMINATION, ctx, undone, payload)


def cancel_termination(command: CancelTermination, world: World, ctx: Context) -> Decision:
    """Undo a termination whose purge has not begun; its operation brings the tenant back."""
    tenant = _living(world, ctx)
    _require(tenant, command.name_, Status.PENDING_DELETION)
    run = _termination(tenant, world)
    undone = operation.turn_back(run, "cancelled", "The termination was cancelled.")
    return Decision(undone, operation_id=run.operation_id)


def place_legal_hold(command: PlaceLegalHold, world: World, ctx: Context) -> Decision:
    """Forbid the destruction of the tenant's data; a termination stops where it is."""
    tenant = _living(world, ctx)
    if tenant.legal_hold == command.reason:
        return Decision()
    placed = NewEvent(ref(ctx.tenant_id), LegalHoldPlaced(reason=command.reason))
    if tenant.termination is None:
        return Decision((placed,))
    run = _termination(tenant, world)
    return Decision((placed, *operation.hold(run, HELD)))


def release_legal_hold(_command: ReleaseLegalHold, world: World, ctx: Context) -> Decision:
    """Let the tenant's data be destroyed again; a termination that the hold stopped goes on."""
    tenant = _living(world, ctx)
    if tenant.legal_hold is None:
        return Decision()
    released = NewEvent(ref(ctx.tenant_id), LegalHoldReleased())
    if tenant.termination is None:
        return Decision((released,))
    run = _termination(tenant, world)
    resumed = operation.release(run, HELD, ctx.now)
    return Decision((released, *resumed), operation_id=run.operation_id if resumed else None)


def held_run_streams(_tenant_id: UUID, _command: object, tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams of the runs that a termination, or a hold on it, has to do with."""
    if tenant is not None and tenant.termination is not None:
        yield operation.ref(tenant.termination.operation_id)
    if tenant is not None and tenant.plan_change is not None:
        yield operation.ref(tenant.plan_change.operation_id)


def period_end(now: datetime) -> datetime:
    """Return the end of the period that `now` falls in: the next month's first midnight (UTC)."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def provision_streams(_tenant_id: UUID, command: Provision, _tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams that `provision` reads besides the tenant's."""
    yield subdomain.ref(command.subdomain)


def update_profile_streams(_tenant_id: UUID, command: UpdateProfile, tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams that `update_profile` reads besides the tenant's: the claims it moves between."""
    if command.subdomain is not None and tenant is not None:
        yield subdomain.ref(command.subdomain)
        yield subdomain.ref(tenant.subdomain)


def check_offer(plan: str, region: str, label: str, policy: Policy) -> None:
    """Refuse a plan that is not on sale, a region that is not served, a subdomain that is reserved.

    Raises InvalidCommand naming the field.
    """
    check_plan(plan, policy)
    if region not in policy.regions:
        raise InvalidCommand.of("region", f"must be a region that is served: {', '.join(policy.regions)}")
    _check_reserved(label, policy)


def check_plan(plan: str, policy: Policy) -> None:
    """Refuse (InvalidCommand) a plan that is not on sale."""
    offered = policy.plans.get(plan)
    if offered is None or not offered.on_sale:
        on_sale = ", ".join(name for name, each in policy.plans.items() if each.on_sale)
        raise InvalidCommand.of("plan", f"must be a plan on sale: {on_sale}")


# What the sagas add to a tenant's stream when their steps have had their effect.


def defaults_of(tenant: Tenant, operation_id: UUID, policy: Policy) -> tuple[Event, ...]:
    """Return the defaults of the tenant's plan."""
    plan = policy.plans[tenant.plan]
    return (
        DefaultsConfigured(
            operation_id=str(operation_id),
            quotas=dict(plan.quotas),
            flags=dict(plan.flags),
            branding=default_branding(tenant.name),
        ),
    )


def activated(operation_id: UUID) -> Event:
    """Return the fact that a provisioning ended well."""
    return Activated(operation_id=str(operation_id))


def provisioning_failed(
    tenant_id: UUID, tenant: Tenant, claim: SubdomainClaim | None, operation_id: UUID, reason: str
) -> tuple[NewEvent, ...]:
    """Return the end of a provisioning that was undone: the tenant failed, its subdomain free."""
    failed = ProvisioningFailed(operation_id=str(operation_id), reason=reason)
    released = subdomain.release(claim, Release(tenant.subdomain, tenant_id))
    return (NewEvent(ref(tenant_id), failed), *released)


def access_closed(operation_id: UUID) -> Event:
    """Return the fact that a suspension ended well."""
    return AccessClosed(operation_id=str(operation_id))


def access_opened(operation_id: UUID) -> Event:
    """Return the fact that a resumption ended well."""
    return AccessOpened(operation_id=str(operation_id))


def status_reverted(operation_id: UUID, status: Status) -> Event:
    """Return the fact that a suspension or resumption was undone, back to `status`."""
    return StatusReverted(operation_id=str(operation_id), status=status.value)


def plan_change_begun(tenant: Tenant, operation_id: UUID) -> tuple[Event, ...]:
    """Return the fact that a plan change whose time has come holds the tenant; none where it does already."""
    return () if tenant.operation_id == operation_id else (PlanChangeBegun(operation_id=str(operation_id)),)


def is_changing_plan(tenant: Tenant, operation_id: UUID) -> bool:
    """Return whether the plan change of this operation is still to come about."""
    return tenant.plan_change is not None and tenant.plan_change.operation_id == operation_id


def plan_changed(tenant: Tenant, operation_id: UUID, plan: str, policy: Policy) -> Event:
    """Return the fact that the tenant is on `plan`, with what that plan gives."""
    offered = policy.plans[plan]
    return PlanChanged(
        operation_id=str(operation_id),
        from_plan=tenant.plan,
        plan=plan,
        quotas=dict(offered.quotas),
        flags=dict(offered.flags),
    )


def plan_change_rolled_back(tenant: Tenant, operation_id: UUID, plan: str, reason: str) -> Event:
    """Return the fact that the tenant stays on its plan."""
    return PlanChangeRolledBack(
        operation_id=str(operation_id), from_plan=tenant.plan, plan=plan, reason=reason
    )


def termination_cancelled(operation_id: UUID, former: Status) -> Event:
    """Return the fact that a termination was undone, back to the status before it."""
    return TerminationCancelled(operation_id=str(operation_id), status=former.value)


def purge_started(tenant: Tenant, operation_id: UUID) -> tuple[Event, ...]:
    """Return the fact that there is no way back any more; none where it is known already."""
    return () if tenant.status is Status.PURGING else (PurgeStarted(operation_id=str(operation_id)),)


def purged(operation_id: UUID, certificate_id: str, certificate_sha256: str) -> Event:
    """Return the fact that the tenant's data is destroyed."""
    return Purged(
        operation_id=str(operation_id), certificate_id=certificate_id, certificate_sha256=certificate_sha256
    )


def operation_released(operation_id: UUID) -> Event:
    """Return the fact that an operation which repeated something lets the tenant go as it is."""
    return OperationReleased(operation_id=str(operation_id))


def _with_operation(
    event: Event,
    kind: str,
    steps: tuple[str, ...],
    ctx: Context,
    besides: tuple[NewEvent, ...] = (),
    payload: dict[str, Json] | None = None,
) -> Decision:
    started = operation.start(ctx.operation_id, ctx.tenant_id, kind, steps, payload or {}, ctx.now)
    return Decision((NewEvent(ref(ctx.tenant_id), event), *besides, started), operation_id=ctx.operation_id)


def _same_change(change: PlanChange, plan: str, effective_at: datetime) -> Decision:
    if change.plan == plan and change.effective_at == effective_at:
        return Decision(operation_id=change.operation_id)
    detail = f"The operation {change.operation_id} changes the plan already; wait for its end, or cancel it."
    raise OperationInProgress(detail, operation_id=str(change.operation_id))


def _waiting_change(tenant: Tenant, world: World) -> Operation | None:
    change = tenant.plan_change
    return None if change is None else world.get(operation.ref(change.operation_id), Operation)


def _termination(tenant: Tenant, world: World) -> Operation:
    assert isinstance(tenant.termination, Termination)
    run = world.get(operation.ref(tenant.termination.operation_id), Operation)
    assert run is not None
    return run


def _living(world: World, ctx: Context) -> Tenant:
    return living(world.get(ref(ctx.tenant_id), Tenant), ctx.tenant_id)


def require_free(tenant: Tenant) -> None:
    """Refuse (OperationInProgress) while an operation holds the tenant."""
    if tenant.operation_id is not None:
        detail = f"The operation {tenant.operation_id} holds the tenant; wait for its end, or cancel it."
        raise OperationInProgress(detail, operation_id=str(tenant.operation_id))


def _require(tenant: Tenant, command: str, *allowed: Status) -> None:
    if tenant.status not in allowed:
        names = " or ".join(status.value for status in allowed)
        detail = f"{command} needs a tenant that is {names}; it is {tenant.status.value}."
        raise InvalidTransition(detail, **{"from": tenant.status.value, "command": command})


def _check_settings(settings: dict[str, Json], policy: Policy) -> None:
    used = json_size(settings)
    if used > policy.settings_bytes:
        detail = f"A tenant's settings may have {policy.settings_bytes} bytes as JSON; these have {used}."
        raise QuotaExceeded(detail, resource="settings", limit=policy.settings_bytes, used=used)


def _check_reserved(label: str, policy: Policy) -> None:
    if label in policy.reserved_subdomains:
        raise InvalidCommand.of("subdomain", f"{label!r} is reserved; choose another")


def _claim(label: str, world: World, ctx: Context) -> tuple[NewEvent, ...]:
    return subdomain.claim(world.get(subdomain.ref(label), SubdomainClaim), Claim(label, ctx.tenant_id))


def _release(label: str, world: World, ctx: Context) -> tuple[NewEvent, ...]:
    return subdomain.release(world.get(subdomain.ref(label), SubdomainClaim), Release(label, ctx.tenant_id))
