"""Events in a log of one's own."""

from __future__ import annotations

from uuid import UUID, uuid4

from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore, StoredEvent
from handlers.wire.events import Meta, encoded
from tenant_domain.tenant.events import ProfileUpdated


def facts(number: int, *, tenant: UUID | None = None, meta: Meta | None = None, first: int = 1) -> Batch:
    """Return a batch of `number` events of one tenant, from version `first` on."""
    tenant = tenant or uuid4()
    return Batch(
        events=[
            EventRow(
                tenant,
                tenant,
                version,
                ProfileUpdated.name,
                encoded(ProfileUpdated(tenant_name=f"Acme {version}"), meta or Meta()),
                0,
            )
            for version in range(first, first + number)
        ]
    )


async def events_of(store: EventStore) -> list[StoredEvent]:
    """Return the whole log."""
    events: list[StoredEvent] = []
    while more := await store.read(len(events), 1_000_000):
        events += more
    return events
