"""A run in memory: what the worker knows of it, read from the store and moved by what it appends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from handlers.execution.versions import step_key, step_keys
from handlers.saga_runner.agenda import Due
from handlers.store.batch import AgendaRow, Batch, EventRow, ReadRow
from handlers.store.event_store import EventStore, Loaded
from handlers.wire.events import Meta, encoded, opened
from sagas.definition import Rest, Saga, Scene
from sagas.journal import Moved
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Ref
from tenant_domain.operation import decide as operation_decide
from tenant_domain.operation.state import Operation, OperationStatus, StepStatus
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.state import Tenant

Sagas: TypeAlias = Mapping[str, Saga]
"""Sagas by the kind of their operations."""


class Unreadable(Exception):
    """A run that this worker cannot go on with: its text says why."""


class UnknownKind(Unreadable):
    """A run of a saga that this version does not have."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"This version of the service has no saga of the kind {kind!r}.")
        self.kind = kind


@dataclass(slots=True)
class RunState:
    """A run that the worker `owner` took: what is known of it, the versions that this rests on.

    `meta` is what its events carry along, `incarnation` the number of the database's that it was read of.
    """

    operation_id: UUID
    tenant_id: UUID
    owner: UUID
    saga: Saga
    scene: Scene
    versions: dict[UUID, int]
    meta: Meta
    incarnation: int

    def moved(self, to: Moved) -> None:
        """Take over what was committed."""
        for ref, _ in to.events:
            self.versions[ref.stream] += 1
        self.scene = to.scene


async def load(
    store: EventStore, dues: Collection[Due], owner: UUID, sagas: Sagas, policy: Policy
) -> dict[UUID, RunState]:
    """Return the state of each run, in two queries for all of them.

    Raises Unreadable when one of them cannot be read, and StoreUnavailable.
    """
    incarnation = store.incarnation.number
    refs = [ref for due in dues for ref in _own(due)]
    known = await store.load(refs)
    more = [ref for due in dues for ref in _read_by(due, sagas, known)]
    known |= await store.load(more)
    return {due.operation_id: _state(due, owner, sagas, known, policy, incarnation) for due in dues}


def _own(due: Due) -> tuple[Ref, Ref]:
    return operation_decide.ref(due.operation_id), tenant_decide.ref(due.tenant_id)


def _saga(due: Due, sagas: Sagas) -> Saga:
    saga = sagas.get(due.kind)
    if saga is None:
        raise UnknownKind(due.kind)
    return saga


def unknown_steps(run: RunState) -> list[str]:
    """Return the steps that are still to be done, or undone, and that its saga does not have here.

    The run began in another version: a newer one that has added them, or an older one than took them out.
    """
    operation, known = run.scene.operation, step_keys(run.saga)
    turned = operation.status is OperationStatus.COMPENSATING
    keys = [
        step_key(run.saga.kind, step.name)
        for step in operation.steps
        if (step.touched if turned else step.status is not StepStatus.COMPLETED)
    ]
    return [key for key in keys if key not in known]


def _subjects(due: Due, known: dict[UUID, Loaded]) -> tuple[Operation, Tenant]:
    operation, tenant = known[due.operation_id].state, known[due.tenant_id].state
    if not isinstance(operation, Operation) or not isinstance(tenant, Tenant) or due.started is None:
        raise Unreadable("The run, or its tenant, has no history.")
    return operation, tenant


def _read_by(due: Due, sagas: Sagas, known: dict[UUID, Loaded]) -> Iterable[Ref]:
    return _saga(due, sagas).reads(*_subjects(due, known))


def _state(
    due: Due, owner: UUID, sagas: Sagas, known: dict[UUID, Loaded], policy: Policy, incarnation: int
) -> RunState:
    saga = _saga(due, sagas)
    operation, tenant = _subjects(due, known)
    streams = {ref.stream for ref in (*_own(due), *saga.reads(operation, tenant))}
    scene = Scene(operation, tenant, {stream: known[stream].state for stream in streams}, policy)
    assert due.started is not None
    begun = opened(due.started).meta
    meta = Meta(
        actor=begun.actor,
        correlation_id=begun.correlation_id,
        causation_id=str(due.operation_id),
        traceparent=begun.traceparent,
    )
    versions = {stream: known[stream].version for stream in streams}
    return RunState(due.operation_id, due.tenant_id, owner, saga, scene, versions, meta, incarnation)


def write(batch: Batch, group: int, run: RunState, moved: Moved) -> None:
    """Add a move of a run to `batch`, as one group that rests on the version of the run that is known.

    A run that rests goes off the agenda, one that has to wait is let go until it is due.
    """
    versions = dict(run.versions)
    batch.reads.append(ReadRow(run.operation_id, versions[run.operation_id], group))
    for (_, stream), event in moved.events:
        versions[stream] += 1
        body = encoded(event, run.meta)
        batch.events.append(EventRow(run.tenant_id, stream, versions[stream], event.name, body, group))
    if moved.waits_until is not None or isinstance(moved.action, Rest):
        kind, due = run.saga.kind, moved.waits_until
        batch.agenda.append(AgendaRow(run.operation_id, run.tenant_id, kind, due, run.owner, group))
