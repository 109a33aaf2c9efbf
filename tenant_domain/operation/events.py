"""Events of an operation: the journal of one run of a saga.

Times inside an event are those of the worker that did the step; the log's own time is beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Literal

from msgspec import UNSET, UnsetType

from tenant_domain.decision import Event, Upcaster
from tenant_domain.values import Json

Ending = Literal["rolled_back", "cancelled"]


class OperationStarted(Event, frozen=True, kw_only=True):
    """A run begins: `input` is what its steps need, `steps` what they will be, in order."""

    name: ClassVar[str] = "operation.started"
    operation_id: str
    tenant_id: str
    kind: str
    steps: tuple[str, ...]
    input: dict[str, Json] = {}
    started_at: datetime
    rerun_of: str | UnsetType = UNSET
    skipped: tuple[str, ...] | UnsetType = UNSET
    """The steps that the run it repeats has done, and that are not done again."""


class StepScheduled(Event, frozen=True, kw_only=True):
    """The next step waits for its time."""

    name: ClassVar[str] = "operation.step_scheduled"
    step: str
    due_at: datetime


class StepStarted(Event, frozen=True, kw_only=True):
    """The intent of a step that touches more than the database: it may have an effect from now on."""

    name: ClassVar[str] = "operation.step_started"
    step: str
    attempt: int
    started_at: datetime


class StepCompleted(Event, frozen=True, kw_only=True):
    """A step had its effect."""

    name: ClassVar[str] = "operation.step_completed"
    step: str
    attempt: int
    started_at: datetime
    finished_at: datetime
    output: dict[str, Json] = {}


class StepFailed(Event, frozen=True, kw_only=True):
    """An attempt at a step, or at undoing it, failed; without `retry_at` it was the last one."""

    name: ClassVar[str] = "operation.step_failed"
    step: str
    attempt: int
    error: str
    undoing: bool = False
    started_at: datetime
    finished_at: datetime
    retry_at: datetime | None = None


class StepCompensated(Event, frozen=True, kw_only=True):
    """What a step did is undone."""

    name: ClassVar[str] = "operation.step_compensated"
    step: str
    attempt: int
    finished_at: datetime


class CompensationStarted(Event, frozen=True, kw_only=True):
    """From now on the run undoes its steps, last one first, and ends as `ending`."""

    name: ClassVar[str] = "operation.compensation_started"
    ending: Ending
    reason: str
    from_step: str | UnsetType = UNSET
    """Undo from this step backwards: what was done after it was undone by hand. Left out: undo everything."""


class OperationParked(Event, frozen=True, kw_only=True):
    """The run cannot go on by itself and waits for a person."""

    name: ClassVar[str] = "operation.parked"
    step: str
    reason: str


class OperationRetried(Event, frozen=True, kw_only=True):
    """Somebody asked to go on: the retries of the present step start anew, at once."""

    name: ClassVar[str] = "operation.retried"
    retried_at: datetime | UnsetType = UNSET


class OperationSucceeded(Event, frozen=True, kw_only=True):
    """All steps are done."""

    name: ClassVar[str] = "operation.succeeded"
    finished_at: datetime


class OperationRolledBack(Event, frozen=True, kw_only=True):
    """All that was done is undone, after a failure."""

    name: ClassVar[str] = "operation.rolled_back"
    reason: str
    finished_at: datetime


class OperationCancelled(Event, frozen=True, kw_only=True):
    """All that was done is undone, because somebody asked for it."""

    name: ClassVar[str] = "operation.cancelled"
    reason: str
    finished_at: datetime


EVENTS = (
    OperationStarted,
    StepScheduled,
    StepStarted,
    StepCompleted,
    StepFailed,
    StepCompensated,
    CompensationStarted,
    OperationParked,
    OperationRetried,
    OperationSucceeded,
    OperationRolledBack,
    OperationCancelled,
)
UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
