"""State of an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from tenant_domain.decision import Event, Unfolded
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
    StepScheduled,
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
    backwards by it. It is 0 for a step that this run never touched; a completed one was done by a former run.
    """

    name: str
    status: StepStatus = StepStatus.PENDING
    order: int = 0
    attempts: int = 0
    tries: int = 0
    failing_since: datetime | None = None
    """When the first of those failed attempts began."""
    due_at: datetime | None = None
    """The time that the step waits for, or waited for."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    retry_at: datetime | None = None
    output: dict[str, Json] = {}

    @property
    def touched(self) -> bool:
        """Whether the step may have had an effect that is not undone."""
        active = (StepStatus.RUNNING, StepStatus.COMPLETED, StepStatus.FAILED)
        return self.order > 0 and self.status in active


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a saga. `ending` and `reason` are set once it undoes its steps."""

    operation_id: UUID
    tenant_id: UUID
    kind: str
    status: OperationStatus
    input: dict[str, Json]
    steps: tuple[Step, ...]
    started_at: datetime
    rerun_of: UUID | None = None
    finished_at: datetime | None = None
    ending: Ending | None = None
    reason: str | None = None
    """Why it is undone, or was."""
    parked_reason: str | None = None
    """Why it waits for a person; None when it does not."""
    parked_step: str | None = None
    active_since: datetime | None = None
    """Since when it has been at work, and not waited for a due time: deadlines count from here."""

    @property
    def finished(self) -> bool:
        """Whether the run has ended for good."""
        return self.finished_at is not None

    @property
    def repeats(self) -> bool:
        """Whether it does only the last steps of a run again that had ended well."""
        return any(step.status is StepStatus.COMPLETED and not step.order for step in self.steps)

    def step(self, name: str) -> Step:
        """Return the step called `name`; one that the run has not met yet is pending."""
        for step in self.steps:
            if step.name == name:
                return step
        return Step(name=name)


def _with_step(state: Operation, step: Step) -> Operation:
    if not step.order:
        step = replace(step, order=1 + max((known.order for known in state.steps), default=0))
    if any(known.name == step.name for known in state.steps):
        steps = tuple(step if known.name == step.name else known for known in state.steps)
    else:
        steps = (*state.steps, step)
    return replace(state, steps=steps)


def _first(name: str, skipped: tuple[str, ...]) -> Step:
    return Step(name=name, status=StepStatus.COMPLETED if name in skipped else StepStatus.PENDING)


def _started(event: OperationStarted) -> Operation:
    return Operation(
        operation_id=UUID(event.operation_id),
        tenant_id=UUID(event.tenant_id),
        kind=event.kind,
        status=OperationStatus.RUNNING,
        input=event.input,
        steps=tuple(_first(name, event.skipped or ()) for name in event.steps),
        started_at=event.started_at,
        rerun_of=UUID(event.rerun_of) if event.rerun_of else None,
        active_since=event.started_at,
    )


def _scheduled(state: Operation, event: StepScheduled) -> Operation:
    known = any(step.name == event.step for step in state.steps)
    steps = state.steps if known else (*state.steps, Step(name=event.step))
    steps = tuple(replace(step, due_at=event.due_at) if step.name == event.step else step for step in steps)
    since = event.due_at if state.active_since is None else max(state.active_since, event.due_at)
    return replace(state, steps=steps, active_since=since)


def _turned_back(state: Operation, event: CompensationStarted) -> Operation:
    upto = max((step.order for step in state.steps if step.name == event.from_step), default=None)
    steps = tuple(
        replace(step, status=StepStatus.COMPENSATED)
        if upto is not None and step.touched and step.order > upto
        else step
        for step in _anew(state)
    )
    return replace(
        state,
        status=OperationStatus.COMPENSATING,
        ending=event.ending,
        reason=event.reason,
        parked_reason=None,
        parked_step=None,
        steps=steps,
    )


def _step_started(state: Operation, event: StepStarted) -> Operation:
    step = state.step(event.step)
    running = replace(
        step,
        status=StepStatus.RUNNING,
        attempts=event.attempt,
        started_at=step.started_at or event.started_at,
        retry_at=None,
    )
    return _with_step(state, running)


def _step_completed(state: Operation, event: StepCompleted) -> Operation:
    step = state.step(event.step)
    completed = replace(
        step,
        status=StepStatus.COMPLETED,
        attempts=event.attempt,
        tries=0,
        failing_since=None,
        started_at=step.started_at or event.started_at,
        finished_at=event.finished_at,
        error=None,
        retry_at=None,
        output=event.output,
    )
    return _with_step(state, completed)


def _step_failed(state: Operation, event: StepFailed) -> Operation:
    step = state.step(event.step)
    failed = replace(
        step,
        status=step.status if event.undoing else StepStatus.FAILED,
        attempts=step.attempts if event.undoing else event.attempt,
        tries=step.tries + 1,
        failing_since=step.failing_since or event.started_at,
        started_at=step.started_at or event.started_at,
        finished_at=event.finished_at,
        error=event.error,
        retry_at=event.retry_at,
    )
    return _with_step(state, failed)


def _step_compensated(state: Operation, event: StepCompensated) -> Operation:
    undone = replace(
        state.step(event.step),
        status=StepStatus.COMPENSATED,
        finished_at=event.finished_at,
        tries=0,
        retry_at=None,
    )
    return _with_step(state, undone)


def _parked(state: Operation, event: OperationParked) -> Operation:
    return replace(state, status=OperationStatus.PARKED, parked_reason=event.reason, parked_step=event.step)


def _retried(state: Operation, event: OperationRetried) -> Operation:
    return replace(
        state,
        status=OperationStatus.COMPENSATING if state.ending else OperationStatus.RUNNING,
        parked_reason=None,
        parked_step=None,
        active_since=event.retried_at or state.active_since,
        steps=_anew(state),
    )


def _ended(status: OperationStatus) -> Callable[[Operation, Any], Operation]:
    return lambda state, event: replace(state, status=status, finished_at=event.finished_at)


def _anew(state: Operation) -> tuple[Step, ...]:
    """Return the steps with their retries started anew, and none waiting."""
    return tuple(replace(step, tries=0, failing_since=None, retry_at=None) for step in state.steps)


_FOLDS: Mapping[type[Event], Callable[[Operation, Any], Operation]] = {
    StepScheduled: _scheduled,
    StepStarted: _step_started,
    StepCompleted: _step_completed,
    StepFailed: _step_failed,
    StepCompensated: _step_compensated,
    CompensationStarted: _turned_back,
    OperationParked: _parked,
    OperationRetried: _retried,
    OperationSucceeded: _ended(OperationStatus.SUCCEEDED),
    OperationRolledBack: _ended(OperationStatus.ROLLED_BACK),
    OperationCancelled: _ended(OperationStatus.CANCELLED),
}


def evolve(state: Operation | None, event: Event) -> Operation | None:
    """Return the state after `event`. Raises Unfolded for one that is of no aggregate of this kind."""
    if isinstance(event, OperationStarted):
        return _started(event)
    fold = _FOLDS.get(type(event))
    if fold is None:
        raise Unfolded(event)
    return None if state is None else fold(state, event)
