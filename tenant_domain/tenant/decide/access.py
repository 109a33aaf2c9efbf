"""Decisions about a tenant's access: taken out of service, and put back."""

from __future__ import annotations

from uuid import UUID

from tenant_domain.authorisation import Authority
from tenant_domain.decision import UNCHANGED, Context, Decision, Event, NewEvent, World
from tenant_domain.tenant.commands import Resume, Suspend
from tenant_domain.tenant.decide.rules import (
    begin_operation,
    living_tenant,
    ref,
    require_free,
    require_own_suspension,
    require_status,
)
from tenant_domain.tenant.events import (
    AccessClosed,
    AccessOpened,
    Resumed,
    StatusReverted,
    Suspended,
    SuspensionRaised,
)
from tenant_domain.values import Status

SUSPENSION = ("close_access",)
RESUMPTION = ("open_access",)


def suspend(command: Suspend, world: World, ctx: Context) -> Decision:
    """Take an active tenant out of service; an operation then closes all access.

    What the tenant's own people suspended can be suspended in a higher name, which they cannot resume.
    """
    tenant = living_tenant(world, ctx)
    require_free(tenant)
    if tenant.status is Status.SUSPENDED:
        if tenant.suspended_by is not Authority.TENANT or ctx.authority is Authority.TENANT:
            return UNCHANGED
        raised = SuspensionRaised(reason=command.reason, by=ctx.authority)
        return Decision((NewEvent(ref(ctx.tenant_id), raised),))
    require_status(tenant, command.name_, Status.ACTIVE)
    suspended = Suspended(operation_id=str(ctx.operation_id), reason=command.reason, by=ctx.authority)
    return begin_operation(suspended, "suspension", SUSPENSION, ctx)


def resume(command: Resume, world: World, ctx: Context) -> Decision:
    """Put a suspended tenant back into service; an operation then opens the access.

    Raises Forbidden when the tenant's own people ask, and did not suspend it themselves.
    """
    tenant = living_tenant(world, ctx)
    require_own_suspension(tenant, command.name_, ctx)
    require_free(tenant)
    if tenant.status is Status.ACTIVE:
        return UNCHANGED
    require_status(tenant, command.name_, Status.SUSPENDED)
    return begin_operation(Resumed(operation_id=str(ctx.operation_id)), "resumption", RESUMPTION, ctx)


def access_closed(operation_id: UUID) -> Event:
    """Return the fact that a suspension ended well."""
    return AccessClosed(operation_id=str(operation_id))


def access_opened(operation_id: UUID) -> Event:
    """Return the fact that a resumption ended well."""
    return AccessOpened(operation_id=str(operation_id))


def status_reverted(operation_id: UUID, status: Status) -> Event:
    """Return the fact that a suspension or resumption was undone, back to `status`."""
    return StatusReverted(operation_id=str(operation_id), status=status.value)
