"""Decisions about what a tenant is called and carries."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from msgspec import UNSET

from tenant_domain.decision import UNCHANGED, Context, Decision, NewEvent, Ref, World
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Release
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant.commands import UpdateProfile
from tenant_domain.tenant.decide.rules import (
    check_reserved,
    check_settings,
    claim,
    living_tenant,
    ref,
    require_free,
    require_status,
)
from tenant_domain.tenant.events import ProfileUpdated
from tenant_domain.tenant.state import Tenant, merged
from tenant_domain.values import Status, same_json


def update_profile(command: UpdateProfile, world: World, ctx: Context) -> Decision:
    """Change the fields that are given and differ; when none differs, nothing happens."""
    tenant = living_tenant(world, ctx)
    require_free(tenant)
    require_status(tenant, command.name_, Status.ACTIVE, Status.SUSPENDED)
    moved = command.subdomain is not None and command.subdomain != tenant.subdomain
    claims: tuple[NewEvent, ...] = ()
    if moved and command.subdomain is not None:
        check_reserved(command.subdomain, ctx.policy)
        claims = (*_release(tenant.subdomain, world, ctx), *claim(command.subdomain, world, ctx))
    changes = {
        key: value
        for key, value in (command.settings or {}).items()
        if not same_json(tenant.settings.get(key), value)
    }
    settings = merged(tenant.settings, changes)
    if changes:
        check_settings(settings, ctx.policy)
    renamed = command.name is not None and command.name != tenant.name
    relabelled = command.metadata is not None and command.metadata != tenant.metadata
    if not (moved or changes or renamed or relabelled):
        return UNCHANGED
    updated = ProfileUpdated(
        tenant_name=command.name if renamed and command.name is not None else UNSET,
        subdomain=command.subdomain if moved and command.subdomain is not None else UNSET,
        metadata=command.metadata if relabelled and command.metadata is not None else UNSET,
        settings=changes or UNSET,
        settings_after=settings if changes else UNSET,
    )
    return Decision((NewEvent(ref(ctx.tenant_id), updated), *claims))


def update_profile_streams(_tenant_id: UUID, command: UpdateProfile, tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams that `update_profile` reads besides the tenant's: the claims it moves between."""
    if command.subdomain is not None and tenant is not None:
        yield subdomain.ref(command.subdomain)
        yield subdomain.ref(tenant.subdomain)


def _release(label: str, world: World, ctx: Context) -> tuple[NewEvent, ...]:
    return subdomain.release(world.get(subdomain.ref(label), SubdomainClaim), Release(label, ctx.tenant_id))
