"""Decisions about a tenant that is being made."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from tenant_domain.catalogue import Policy, default_branding
from tenant_domain.decision import Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.refusals import TenantExists
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Release
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant.commands import Provision
from tenant_domain.tenant.decide.rules import begin_operation, check_offer, check_settings, claim, ref
from tenant_domain.tenant.events import (
    Activated,
    AdminContact,
    DefaultsConfigured,
    ProvisioningFailed,
    ProvisioningStarted,
)
from tenant_domain.tenant.state import Tenant, merged

PROVISIONING = ("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate")


def provision(command: Provision, world: World, ctx: Context) -> Decision:
    """Begin to make a tenant: claim its subdomain, start its provisioning."""
    if world.get(ref(ctx.tenant_id), Tenant) is not None:
        raise TenantExists(f"The tenant id {ctx.tenant_id} is in use, or was used before.")
    region = command.region or ctx.policy.default_region
    check_offer(command.plan, region, command.subdomain, ctx.policy)
    settings = merged({}, dict(command.settings))
    check_settings(settings, ctx.policy)
    claimed = claim(command.subdomain, world, ctx)
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
    return begin_operation(started, "provisioning", PROVISIONING, ctx, claimed)


def provision_streams(_tenant_id: UUID, command: Provision, _tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams that `provision` reads besides the tenant's."""
    yield subdomain.ref(command.subdomain)


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
    tenant_id: UUID, tenant: Tenant, held: SubdomainClaim | None, operation_id: UUID, reason: str
) -> tuple[NewEvent, ...]:
    """Return the end of a provisioning that was undone: the tenant failed, its subdomain free."""
    failed = ProvisioningFailed(operation_id=str(operation_id), reason=reason)
    released = subdomain.release(held, Release(tenant.subdomain, tenant_id))
    return (NewEvent(ref(tenant_id), failed), *released)
