"""State of an operation."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from msgspec.structs import replace

from tenant_domain.decision import Event
from tenant_domain.operation.events import (
    CompensationStarted,
    Ending,
    OperationCancelled,
    OperationParked,
    OperationRetried,
    OperationRolledBack,
    OperationStarted,
    OperationSucceeded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from tenant_domain.values import Json


class OperationStatus(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """Where a step is; a `failed` one waits for its next attempt, or was given up."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATED = "compensated"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run. `tries` counts the failed attempts since the retries last started anew.

    `order` numbers the steps as the run first touched them, whatever order a definition has: undoing goes
    backwards by it. It is 0 for a step that was never touched.
    """

    name: str
    status: StepStatus = StepStatus.PENDING
    order: int = 0
    attempts: int = 0
    tries: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    retry_at: datetime | None = None
    output: dict[str, Json] = {}

    @property
    def touched(self) -> bool:
        """Whether the step may have had an effect that is not undone."""
        return self.status in (StepStatus.RUNNING, StepStatus.COMPLETED, StepStatus.FAILED)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a saga. `ending` and `reason` are set once it undoes its steps."""

    operation_id: UUID
    tenant_id: UUID
    kind: str
    status: OperationStatus
    input: dict[str, Json]
    steps: tuple[Step, ...]
    started_at: datetime
    finished_at: datetime | None = None
    ending: Ending | None = None
    reason: str | None = None
    """Why it is undone, or was."""
    parked_reason: str | None = None
    """Why it waits for a person; None when it does not."""

    @property
    def finished(self) -> bool:
        """Whether the run has ended for good."""
        return self.finished_at is not None

    def step(self, name: str) -> Step:
        """Return the step called `name`; one that the run has not met yet is pending."""
        return next((step for step in self.steps if step.name == name), Step(name=name))


def _with_step(state: Operation, step: Step) -> Operation:
    if not step.order:
        step = replace(step, order=1 + max((known.order for known in state.steps), default=0))
    if any(known.name == step.name for known in state.steps):
        steps = tuple(step if known.name == step.name else known for known in state.steps)
    else:
        steps = (*state.steps, step)
    return replace(state, steps=steps)


def _started(event: OperationStarted) -> Operation:
    return Operation(
        operation_id=UUID(event.operation_id),
        tenant_id=UUID(event.tenant_id),
        kind=event.kind,
        status=OperationStatus.RUNNING,
        input=event.input,
        steps=tuple(Step(name=name) for name in event.steps),
        started_at=event.started_at,
    )


def _step_event(state: Operation, event: Event) -> Operation:
    match event:
        case StepStarted():
            step = state.step(event.step)
            running = replace(
                step,
                status=StepStatus.RUNNING,
                attempts=event.attempt,
                started_at=step.started_at or event.started_at,
                retry_at=None,
            )
            return _with_step(state, running)
        case StepCompleted():
            step = state.step(event.step)
            completed = replace(
                step,
                status=StepStatus.COMPLETED,
                attempts=event.attempt,
                tries=0,
                started_at=step.started_at or event.started_at,
                finished_at=event.finished_at,
                error=None,
                retry_at=None,
                output=event.output,
            )
            return _with_step(state, completed)
        case StepFailed():
            step = state.step(event.step)
            failed = replace(
                step,
                status=step.status if event.undoing else StepStatus.FAILED,
                attempts=step.attempts if event.undoing else event.attempt,
                tries=step.tries + 1,
                started_at=step.started_at or event.started_at,
                finished_at=event.finished_at,
                error=event.error,
                retry_at=event.retry_at,
            )
            return _with_step(state, failed)
        case StepCompensated():
            step = state.step(event.step)
            undone = replace(
                step, status=StepStatus.COMPENSATED, finished_at=event.finished_at, tries=0, retry_at=None
            )
            return _with_step(state, undone)
        case _:
            return state


def _anew(state: Operation) -> tuple[Step, ...]:
    """Return the steps with their retries started anew, and none waiting."""
    return tuple(replace(step, tries=0, retry_at=None) for step in state.steps)


def evolve(state: Operation | None, event: Event) -> Operation | None:
    """Return the state after `event`."""
    if isinstance(event, OperationStarted):
        return _started(event)
    if state is None:
        return None
    match event:
        case CompensationStarted():
            return replace(
                state,
                status=OperationStatus.COMPENSATING,
                ending=event.ending,
                reason=event.reason,
                parked_reason=None,
                steps=_anew(state),
            )
        case OperationParked():
            return replace(state, status=OperationStatus.PARKED, parked_reason=event.reason)
        case OperationRetried():
            resumed = OperationStatus.COMPENSATING if state.ending else OperationStatus.RUNNING
            return replace(state, status=resumed, parked_reason=None, steps=_anew(state))
        case OperationSucceeded():
            return replace(state, status=OperationStatus.SUCCEEDED, finished_at=event.finished_at)
        case OperationRolledBack():
            return replace(state, status=OperationStatus.ROLLED_BACK, finished_at=event.finished_at)
        case OperationCancelled():
            return replace(state, status=OperationStatus.CANCELLED, finished_at=event.finished_at)
        case _:
            return _step_event(state, event)
