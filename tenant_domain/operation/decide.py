"""Decisions about an operation, as the journal of its run and the commands of its tenant ask for them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tenant_domain.decision import Event, NewEvent, Ref
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
from tenant_domain.values import Json


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
