"""Decisions about an operation: an operator's, and those that the journal of a run asks for."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tenant_domain.decision import Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.events import (
    CompensationStarted,
    Ending,
    OperationCancelled,
    OperationParked,
    OperationRetried,
    OperationRolledBack,
    OperationStarted,
    OperationSucceeded,
)
from tenant_domain.operation.state import Operation, OperationStatus
from tenant_domain.refusals import InvalidCommand, InvalidTransition, LegalHold, NotFound
from tenant_domain.tenant.state import Tenant, living
from tenant_domain.values import Json, Status


def ref(operation_id: UUID) -> Ref:
    """Return the stream of an operation."""
    return Ref("operation", operation_id)


def start(
    operation_id: UUID,
    tenant_id: UUID,
    kind: str,
    steps: tuple[str, ...],
    payload: dict[str, Json],
    now: datetime,
) -> NewEvent:
    """Begin a run of the saga `kind`; `payload` is the input of its steps."""
    event = OperationStarted(
        operation_id=str(operation_id),
        tenant_id=str(tenant_id),
        kind=kind,
        steps=steps,
        input=payload,
        started_at=now,
    )
    return NewEvent(ref(operation_id), event)


def retry(command: RetryOperation, world: World, ctx: Context) -> Decision:
    """Go on with a parked run, or try a waiting step now; a run that is at work is left alone."""
    operation = known(command.operation_id, world, ctx)
    _require_unfinished(operation, command.name_)
    waiting = any(step.retry_at for step in operation.steps)
    if operation.status is not OperationStatus.PARKED and not waiting:
        return Decision(operation_id=command.operation_id)
    _require_no_hold(operation, world, command.name_)
    return _decided(command.operation_id, OperationRetried(retried_at=ctx.now))


def cancel(command: CancelOperation, world: World, ctx: Context) -> Decision:
    """Undo the run, to end as `cancelled`."""
    return _undo(command, "cancelled", "Cancelled by an operator.", world, ctx)


def compensate(command: CompensateOperation, world: World, ctx: Context) -> Decision:
    """Undo the run, to end as `rolled_back`; a parked undoing may go on from an earlier step."""
    if command.from_step is None:
        return _undo(command, "rolled_back", "Compensated by an operator.", world, ctx)
    run = known(command.operation_id, world, ctx)
    _require_unfinished(run, command.name_)
    _require_way_back(run, world, command.name_)
    if not run.step(command.from_step).touched:
        raise InvalidCommand.of("from_step", "must be a step that the run has done, and not undone yet")
    reason = f"Compensated by an operator from the step {command.from_step!r}."
    turned = CompensationStarted(
        ending=run.ending or "rolled_back", reason=run.reason or reason, from_step=command.from_step
    )
    return _decided(command.operation_id, turned)


def turn_back(operation: Operation, ending: Ending, reason: str) -> tuple[NewEvent, ...]:
    """Undo an unfinished run; one that ended, or is being undone, is left as it is."""
    if operation.finished or operation.ending is not None:
        return ()
    return (NewEvent(ref(operation.operation_id), CompensationStarted(ending=ending, reason=reason)),)


def hold(operation: Operation, reason: str) -> tuple[NewEvent, ...]:
    """Stop a run that goes forward where it is, until it is released."""
    if operation.status is not OperationStatus.RUNNING:
        return ()
    return (NewEvent(ref(operation.operation_id), OperationParked(step="", reason=reason)),)


def release(operation: Operation, reason: str, now: datetime) -> tuple[NewEvent, ...]:
    """Let a run go on that was stopped for `reason`; one that is parked for another stays so."""
    if operation.status is not OperationStatus.PARKED or operation.parked_reason != reason:
        return ()
    return (NewEvent(ref(operation.operation_id), OperationRetried(retried_at=now)),)


def ended(operation: Operation, now: datetime) -> Event:
    """Return the event that ends a run whose steps are all done, or all undone."""
    reason = operation.reason or ""
    match operation.ending:
        case None:
            return OperationSucceeded(finished_at=now)
        case "cancelled":
            return OperationCancelled(reason=reason, finished_at=now)
        case _:
            return OperationRolledBack(reason=reason, finished_at=now)


def _undo(
    command: CancelOperation | CompensateOperation, ending: Ending, reason: str, world: World, ctx: Context
) -> Decision:
    operation = known(command.operation_id, world, ctx)
    if operation.status is OperationStatus.COMPENSATING or operation.status == ending:
        return Decision(operation_id=command.operation_id)
    _require_unfinished(operation, command.name_)
    _require_way_back(operation, world, command.name_)
    return _decided(command.operation_id, CompensationStarted(ending=ending, reason=reason))


def known(operation_id: UUID, world: World, ctx: Context) -> Operation:
    """Return the state of one of the tenant's operations.

    Raises TenantNotFound, TenantGone, and NotFound when the tenant has no such operation.
    """
    living(world.get(Ref("tenant", ctx.tenant_id), Tenant), ctx.tenant_id)
    operation = world.get(ref(operation_id), Operation)
    if operation is None or operation.tenant_id != ctx.tenant_id:
        raise NotFound(f"The tenant has no operation {operation_id}.", operation_id=str(operation_id))
    return operation


def _require_unfinished(operation: Operation, command: str) -> None:
    if operation.finished:
        status = operation.status.value
        detail = f"The operation has ended as {status}; {command} is not possible any more."
        raise InvalidTransition(detail, **{"from": status, "command": command})


def _require_no_hold(operation: Operation, world: World, command: str) -> None:
    tenant = world.get(Ref("tenant", operation.tenant_id), Tenant)
    if tenant is not None and tenant.legal_hold and operation.kind == "termination" and not operation.ending:
        raise LegalHold(f"A legal hold forbids {command}; its reason stands in the tenant's history.")


def _require_way_back(operation: Operation, world: World, command: str) -> None:
    tenant = world.get(Ref("tenant", operation.tenant_id), Tenant)
    if tenant is not None and tenant.status is Status.PURGING:
        detail = f"The tenant's data is being destroyed; {command} is not possible any more."
        raise InvalidTransition(detail, **{"from": tenant.status.value, "command": command})
    change = None if tenant is None else tenant.plan_change
    if operation.kind == "upgrade" and (change is None or change.operation_id != operation.operation_id):
        detail = f"The tenant is on its new plan already; {command} is not possible any more."
        raise InvalidTransition(detail, **{"from": operation.status.value, "command": command})


def _decided(operation_id: UUID, event: Event) -> Decision:
    return Decision((NewEvent(ref(operation_id), event),), operation_id=operation_id)
