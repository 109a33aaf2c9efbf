"""The shelf: a run that this worker cannot go on with is parked where people see it, never dropped."""

from __future__ import annotations

from uuid import UUID

import msgspec

from handlers.saga_runner.agenda import Due
from handlers.saga_runner.news import News
from handlers.saga_runner.run import Unreadable
from handlers.store.batch import AgendaRow, Batch, EventRow, ReadRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, UnknownEvent, encoded
from tenant_domain.decision import NewEvent
from tenant_domain.operation import decide as operation_decide
from tenant_domain.operation.events import OperationParked
from tenant_domain.operation.state import Operation, OperationStatus

_PAGE = 1000


async def shelve(store: EventStore, due: Due, owner: UUID, trouble: Exception) -> tuple[int, News] | None:
    """Park the run and take it off the agenda; returns the log's end and what was appended.

    None means that somebody else appended to it, so it is worth another look. Raises StoreError.
    """
    version, resting = await _stand(store, due)
    ref = operation_decide.ref(due.operation_id)
    parked = NewEvent(ref, OperationParked(step="", reason=_reason(trouble)))
    batch = Batch(
        reads=[ReadRow(ref.stream, version, 0)],
        agenda=[AgendaRow(due.operation_id, due.tenant_id, due.kind, None, owner, 0)],
    )
    if not resting:
        body = encoded(parked.event, Meta(causation_id=str(due.operation_id)))
        batch.events.append(EventRow(due.tenant_id, ref.stream, version + 1, parked.event.name, body, 0))
    appended = await store.append(batch)
    if appended.dropped:
        return None
    events = () if resting else (parked,)
    return appended.head, News(due.tenant_id, due.operation_id, due.kind, events)


def _reason(trouble: Exception) -> str:
    if isinstance(trouble, Unreadable):
        return str(trouble)
    return f"The service could not go on with the run ({type(trouble).__name__})."


async def _stand(store: EventStore, due: Due) -> tuple[int, bool]:
    """Return the version of the run's stream, and whether the run rests; readable or not."""
    ref = operation_decide.ref(due.operation_id)
    try:
        loaded = (await store.load([ref]))[ref.stream]
    except (UnknownEvent, msgspec.MsgspecError, ValueError):
        return await _counted(store, due), False
    operation = loaded.state
    resting = not isinstance(operation, Operation) or (
        operation.finished or operation.status is OperationStatus.PARKED
    )
    return loaded.version, resting


async def _counted(store: EventStore, due: Due) -> int:
    version = after = 0
    while events := await store.read_tenant(due.tenant_id, after, None, _PAGE):
        version = max([version, *(event.version for event in events if event.stream_id == due.operation_id)])
        after = events[-1].position
    return version
