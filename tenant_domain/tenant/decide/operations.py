"""Decisions about a run of one of the tenant's operations, as an operator asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from tenant_domain.decision import UNCHANGED, Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.operation import decide as operation
from tenant_domain.operation.commands import (
    CancelOperation,
    CompensateOperation,
    RerunOperation,
    RetryOperation,
)
from tenant_domain.operation.events import CompensationStarted, Ending, OperationRetried
from tenant_domain.operation.state import Operation, OperationStatus
from tenant_domain.refusals import InvalidCommand, InvalidTransition, LegalHold, NotFound
from tenant_domain.tenant.decide.rules import living_tenant
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Status

OfRun = RetryOperation | CancelOperation | CompensateOperation | RerunOperation


def retry_operation(command: RetryOperation, world: World, ctx: Context) -> Decision:
    """Go on with a parked run, or try a waiting step now; a run that is at work is left alone."""
    tenant, run = tenant_and_run(command, world, ctx)
    _require_unfinished(run, command)
    waiting = any(step.retry_at for step in run.steps)
    if run.status is not OperationStatus.PARKED and not waiting:
        return UNCHANGED._replace(operation_id=run.operation_id)
    _require_no_hold(tenant, run, command)
    return _decided(run, OperationRetried(retried_at=ctx.now))


def cancel_operation(command: CancelOperation, world: World, ctx: Context) -> Decision:
    """Undo the run, to end as `cancelled`."""
    return _undo(command, "cancelled", "Cancelled by an operator.", world, ctx)


def compensate_operation(command: CompensateOperation, world: World, ctx: Context) -> Decision:
    """Undo the run, to end as `rolled_back`; a parked undoing may go on from an earlier step."""
    if command.from_step is None:
        return _undo(command, "rolled_back", "Compensated by an operator.", world, ctx)
    tenant, run = tenant_and_run(command, world, ctx)
    _require_unfinished(run, command)
    _require_way_back(tenant, run, command)
    if not run.step(command.from_step).touched:
        raise InvalidCommand.of("from_step", "must be a step that the run has done, and not undone yet")
    reason = f"Compensated by an operator from the step {command.from_step!r}."
    turned = CompensationStarted(
        ending=run.ending or "rolled_back", reason=run.reason or reason, from_step=command.from_step
    )
    return _decided(run, turned)


def run_streams(_tenant_id: UUID, command: OfRun, _tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams that an operator's command reads besides the tenant's: that of the run."""
    yield operation.ref(command.operation_id)


def tenant_and_run(command: OfRun, world: World, ctx: Context) -> tuple[Tenant, Operation]:
    """Return the tenant and the run that the command names.

    Raises TenantNotFound, TenantGone, and NotFound when the tenant has no such operation.
    """
    tenant = living_tenant(world, ctx)
    run = world.get(operation.ref(command.operation_id), Operation)
    if run is None or run.tenant_id != ctx.tenant_id:
        id = str(command.operation_id)
        raise NotFound(f"The tenant has no operation {id}.", operation_id=id)
    return tenant, run


def _undo(
    command: CancelOperation | CompensateOperation, ending: Ending, reason: str, world: World, ctx: Context
) -> Decision:
    tenant, run = tenant_and_run(command, world, ctx)
    if run.status is OperationStatus.COMPENSATING or run.status == ending:
        return UNCHANGED._replace(operation_id=run.operation_id)
    _require_unfinished(run, command)
    _require_way_back(tenant, run, command)
    return _decided(run, CompensationStarted(ending=ending, reason=reason))


def _require_unfinished(run: Operation, command: OfRun) -> None:
    if run.finished:
        status = run.status.value
        detail = f"The operation has ended as {status}; {command.name_} is not possible any more."
        raise InvalidTransition(detail, **{"from": status, "command": command.name_})


def _require_no_hold(tenant: Tenant, run: Operation, command: OfRun) -> None:
    if tenant.legal_hold and run.kind == "termination" and not run.ending:
        raise LegalHold(
            f"A legal hold forbids {command.name_}; its reason stands in the tenant's history."
            " release_legal_hold ends it."
        )


def _require_way_back(tenant: Tenant, run: Operation, command: OfRun) -> None:
    if tenant.status is Status.PURGING:
        detail = f"The tenant's data is being destroyed; {command.name_} is not possible any more."
        raise InvalidTransition(detail, **{"from": tenant.status.value, "command": command.name_})
    change = tenant.plan_change
    if run.kind == "upgrade" and (change is None or change.operation_id != run.operation_id):
        detail = f"The tenant is on its new plan already; {command.name_} is not possible any more."
        raise InvalidTransition(detail, **{"from": run.status.value, "command": command.name_})


def _decided(run: Operation, event: Event) -> Decision:
    return Decision((NewEvent(operation.ref(run.operation_id), event),), operation_id=run.operation_id)
