"""The read model of operations: one row for each run of a saga, with its steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from projections.forms import Page, Query, Text
from projections.questions import BY_OPERATORS, BY_READERS_ALWAYS, Condition, Listing, Lookup, Row
from projections.read_model import Column, ReadModel, Standing
from tenant_domain.operation.state import Operation, OperationStatus, StepStatus
from tenant_domain.refusals import NotFound
from tenant_domain.values import Id


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a run; `error` is that of its last failed attempt. It waits for `due_at`, or `retry_at`."""

    name: str
    status: StepStatus
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    due_at: datetime | None
    retry_at: datetime | None


class NextView(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next: the step is run or undone, not before a time, or waits for an operator."""

    action: Literal["run", "undo", "wait_for_operator"]
    step: str | None
    not_before: datetime | None


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a saga, as queries answer it; `reason` says why it undoes its steps, or is parked.

    `next` is null once it has ended, and its `step` when all that is left is the end.
    """

    operation_id: UUID
    tenant_id: UUID
    kind: str
    status: OperationStatus
    steps: list[StepView]
    started_at: datetime
    finished_at: datetime | None
    reason: str | None
    rerun_of: UUID | None
    next: NextView | None


_encode = msgspec.json.Encoder().encode


def body(standing: Standing) -> bytes:
    """Return the answer about an operation as JSON, without its position."""
    state: Operation = standing.state
    steps = [
        StepView(
            name=step.name,
            status=step.status,
            attempts=step.attempts,
            started_at=step.started_at,
            finished_at=step.finished_at,
            error=step.error,
            due_at=step.due_at,
            retry_at=step.retry_at,
        )
        for step in state.steps
    ]
    return _encode(
        OperationView(
            operation_id=state.operation_id,
            tenant_id=state.tenant_id,
            kind=state.kind,
            status=state.status,
            steps=steps,
            started_at=state.started_at,
            finished_at=state.finished_at,
            reason=state.parked_reason or state.reason,
            rerun_of=state.rerun_of,
            next=_next(state),
        )
    )


def _next(state: Operation) -> NextView | None:
    """Return what comes next, as far as the journal tells: the saga itself may pass over a step."""
    if state.finished:
        return None
    if state.status is OperationStatus.PARKED:
        return NextView(action="wait_for_operator", step=state.parked_step or None, not_before=None)
    if state.status is OperationStatus.COMPENSATING:
        touched = [step for step in state.steps if step.touched]
        waiting = [step for step in touched if step.retry_at is not None]
        step = max(waiting or touched, key=lambda each: each.order, default=None)
        return NextView(action="undo", step=step and step.name, not_before=step and step.retry_at)
    step = next((each for each in state.steps if each.status is not StepStatus.COMPLETED), None)
    return NextView(action="run", step=step and step.name, not_before=step and (step.retry_at or step.due_at))


def _values(state: Operation) -> tuple[Any, ...]:
    return (state.kind,)


MODEL = ReadModel(
    name="operations",
    revision=2,
    entity="operation",
    where="starts_with(topic, 'operation.')",
    concerns=lambda topic, _stream_id, _tenant_id: topic.startswith("operation."),
    status=lambda state: state.status.value,
    body=body,
    columns=(Column("kind", "text"),),
    values=_values,
    indexes=("(born)", "(tenant_id, born)", "(status, born)", "(kind, born)"),
)


class GetOperation(Query):
    """One operation of the tenant."""

    operation_id: Id


class ListOperations(Page):
    """Operations, oldest first."""

    kind: Text | None = None
    status: OperationStatus | None = None


def _asked_id(_: UUID | None, form: GetOperation) -> UUID:
    return form.operation_id


def _operation(tenant_id: UUID | None, form: GetOperation, row: Row | None) -> bytes:
    if row is None or row.tenant_id != tenant_id:
        raise NotFound(
            f"The tenant has no operation {form.operation_id}.", operation_id=str(form.operation_id)
        )
    return row.body


def _conditions(tenant_id: UUID | None, form: ListOperations) -> list[Condition]:
    conditions: list[Condition] = []
    if tenant_id is not None:
        conditions.append(Condition("tenant_id = %s", tenant_id))
    if form.kind is not None:
        conditions.append(Condition("kind = %s", form.kind))
    if form.status is not None:
        conditions.append(Condition("status = %s", form.status.value))
    return conditions


OPERATION = Lookup(
    name="operation",
    fleet=False,
    form=GetOperation,
    access=BY_READERS_ALWAYS,
    item=OperationView,
    model=MODEL,
    column="stream_id",
    key=_asked_id,
    answer=_operation,
)
OPERATIONS = Listing(
    name="operations",
    fleet=False,
    form=ListOperations,
    access=BY_READERS_ALWAYS,
    item=OperationView,
    model=MODEL,
    conditions=_conditions,
    chosen=("kind",),
)
FLEET_OPERATIONS = Listing(
    name="operations",
    fleet=True,
    form=ListOperations,
    access=BY_OPERATORS,
    item=OperationView,
    model=MODEL,
    conditions=_conditions,
    chosen=("kind",),
)
