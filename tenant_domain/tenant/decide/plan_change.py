"""Decisions about a tenant's move to another plan."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from tenant_domain.catalogue import Policy
from tenant_domain.decision import UNCHANGED, Context, Decision, Event, World
from tenant_domain.refusals import OperationInProgress
from tenant_domain.tenant.commands import Upgrade
from tenant_domain.tenant.decide.rules import (
    begin_operation,
    check_plan,
    living_tenant,
    require_free,
    require_status,
)
from tenant_domain.tenant.events import PlanChangeBegun, PlanChanged, PlanChangeRolledBack, PlanChangeStarted
from tenant_domain.tenant.state import PlanChange, Tenant
from tenant_domain.values import Status

UPGRADE = ("validate_upgrade", "backup_state", "apply_changes", "verify", "rollback_if_needed")


def upgrade(command: Upgrade, world: World, ctx: Context) -> Decision:
    """Begin a move to another plan; one for the period's end waits, and holds the tenant only then."""
    tenant = living_tenant(world, ctx)
    require_free(tenant)
    require_status(tenant, command.name_, Status.ACTIVE, Status.SUSPENDED)
    check_plan(command.plan, ctx.policy)
    effective_at = ctx.now if command.effective == "now" else period_end(ctx.now)
    if tenant.plan_change is not None:
        return _same_change(tenant.plan_change, command.plan, effective_at)
    if command.plan == tenant.plan:
        return UNCHANGED
    started = PlanChangeStarted(
        operation_id=str(ctx.operation_id),
        from_plan=tenant.plan,
        plan=command.plan,
        effective=command.effective,
        effective_at=effective_at,
    )
    payload = {"from_plan": tenant.plan, "plan": command.plan, "effective_at": effective_at.isoformat()}
    return begin_operation(started, "upgrade", UPGRADE, ctx, payload=payload)


def period_end(now: datetime) -> datetime:
    """Return the end of the period that `now` falls in: the next month's first midnight (UTC)."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


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


def _same_change(change: PlanChange, plan: str, effective_at: datetime) -> Decision:
    if change.plan == plan and change.effective_at == effective_at:
        return UNCHANGED._replace(operation_id=change.operation_id)
    detail = f"The operation {change.operation_id} changes the plan already; wait for its end, or cancel it."
    raise OperationInProgress(detail, operation_id=str(change.operation_id))
