"""Decisions about a tenant's access: taken out of service, and put back."""

from __future__ import annotations

from uuid import UUID

from tenant_domain.decision import Context, Decision, Event, World
from tenant_domain.tenant.commands import Resume, Suspend
from tenant_domain.tenant.decide.rules import begin_operation, living_tenant, require_free, require_status
from tenant_domain.tenant.events import AccessClosed, AccessOpened, Resumed, StatusReverted, Suspended
from tenant_domain.values import Status

SUSPENSION = ("close_access",)
RESUMPTION = ("open_access",)


def suspend(command: Suspend, world: World, ctx: Context) -> Decision:
    """Take an active tenant out of service; an operation then closes all access."""
    tenant = living_tenant(world, ctx)
    require_free(tenant)
    if tenant.status is Status.SUSPENDED:
        return Decision()
    require_status(tenant, command.name_, Status.ACTIVE)
    suspended = Suspended(operation_id=str(ctx.operation_id), reason=command.reason)
    return begin_operation(suspended, "suspension", SUSPENSION, ctx)


def resume(command: Resume, world: World, ctx: Context) -> Decision:
    """Put a suspended tenant back into service; an operation then opens the access."""
    tenant = living_tenant(world, ctx)
    require_free(tenant)
    if tenant.status is Status.ACTIVE:
        return Decision()
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
