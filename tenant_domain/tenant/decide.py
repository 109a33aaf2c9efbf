"""Decisions about a tenant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from msgspec import UNSET

from tenant_domain.catalogue import Policy, default_branding
from tenant_domain.decision import Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.operation import decide as operation
from tenant_domain.refusals import (
    InvalidCommand,
    InvalidTransition,
    OperationInProgress,
    TenantExists,
)
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Claim, Release
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant.commands import Provision, Resume, Suspend, UpdateProfile
from tenant_domain.tenant.events import (
    AccessClosed,
    AccessOpened,
    Activated,
    AdminContact,
    DefaultsConfigured,
    ProfileUpdated,
    ProvisioningFailed,
    ProvisioningStarted,
    Resumed,
    StatusReverted,
    Suspended,
)
from tenant_domain.tenant.state import Tenant, living
from tenant_domain.values import Status, same_json

PROVISIONING = ("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate")
SUSPENSION = ("close_access",)
RESUMPTION = ("open_access",)


def ref(tenant_id: UUID) -> Ref:
    """Return the stream of a tenant."""
    return Ref("tenant", tenant_id)


def provision(command: Provision, world: World, ctx: Context) -> Decision:
    """Begin to make a tenant: claim its subdomain, start its provisioning."""
    if world.get(ref(ctx.tenant_id), Tenant) is not None:
        raise TenantExists(f"The tenant id {ctx.tenant_id} is in use, or was used before.")
    region = command.region or ctx.policy.default_region
    check_offer(command.plan, region, command.subdomain, ctx.policy)
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
        settings={key: value for key, value in command.settings.items() if value is not None},
    )
    return _with_operation(started, "provisioning", PROVISIONING, ctx, claimed)


def update_profile(command: UpdateProfile, world: World, ctx: Context) -> Decision:
    """Change the fields that are given and differ; when none differs, nothing happens."""
    tenant = _living(world, ctx)
    _free(tenant)
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
    _free(tenant)
    if tenant.status is Status.SUSPENDED:
        return Decision()
    _require(tenant, command.name_, Status.ACTIVE)
    suspended = Suspended(operation_id=str(ctx.operation_id), reason=command.reason)
    return _with_operation(suspended, "suspension", SUSPENSION, ctx)


def resume(command: Resume, world: World, ctx: Context) -> Decision:
    """Put a suspended tenant back into service; an operation then opens the access."""
    tenant = _living(world, ctx)
    _free(tenant)
    if tenant.status is Status.ACTIVE:
        return Decision()
    _require(tenant, command.name_, Status.SUSPENDED)
    return _with_operation(Resumed(operation_id=str(ctx.operation_id)), "resumption", RESUMPTION, ctx)


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
    offered = policy.plans.get(plan)
    if offered is None or not offered.on_sale:
        on_sale = ", ".join(name for name, each in policy.plans.items() if each.on_sale)
        raise InvalidCommand.of("plan", f"must be a plan on sale: {on_sale}")
    if region not in policy.regions:
        raise InvalidCommand.of("region", f"must be a region that is served: {', '.join(policy.regions)}")
    _check_reserved(label, policy)


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


def _with_operation(
    event: Event, kind: str, steps: tuple[str, ...], ctx: Context, besides: tuple[NewEvent, ...] = ()
) -> Decision:
    started = operation.start(ctx.operation_id, ctx.tenant_id, kind, steps, {}, ctx.now)
    return Decision((NewEvent(ref(ctx.tenant_id), event), *besides, started), operation_id=ctx.operation_id)


def _living(world: World, ctx: Context) -> Tenant:
    return living(world.get(ref(ctx.tenant_id), Tenant), ctx.tenant_id)


def _free(tenant: Tenant) -> None:
    if tenant.operation_id is not None:
        detail = f"The operation {tenant.operation_id} holds the tenant; wait for its end, or cancel it."
        raise OperationInProgress(detail, operation_id=str(tenant.operation_id))


def _require(tenant: Tenant, command: str, *allowed: Status) -> None:
    if tenant.status not in allowed:
        names = " or ".join(status.value for status in allowed)
        detail = f"{command} needs a tenant that is {names}; it is {tenant.status.value}."
        raise InvalidTransition(detail, **{"from": tenant.status.value, "command": command})


def _check_reserved(label: str, policy: Policy) -> None:
    if label in policy.reserved_subdomains:
        raise InvalidCommand.of("subdomain", f"{label!r} is reserved; choose another")


def _claim(label: str, world: World, ctx: Context) -> tuple[NewEvent, ...]:
    return subdomain.claim(world.get(subdomain.ref(label), SubdomainClaim), Claim(label, ctx.tenant_id))


def _release(label: str, world: World, ctx: Context) -> tuple[NewEvent, ...]:
    return subdomain.release(world.get(subdomain.ref(label), SubdomainClaim), Release(label, ctx.tenant_id))
