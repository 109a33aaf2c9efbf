"""Batches in a few words. Every command and event stands for itself unless told otherwise."""

from uuid import UUID, uuid4

from handlers.store.batch import Batch, EventRow, LedgerRow, ReadRow
from handlers.wire.events import Meta, encoded
from tenant_domain.decision import Event
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased

STATE = encoded(SubdomainClaimed(subdomain="acme", tenant_id=str(UUID(int=7))), Meta())
RELEASED = SubdomainReleased(subdomain="acme", tenant_id=str(UUID(int=7)))


def event(stream: UUID, version: int, group: int = 0, *, tenant: UUID | None = None) -> EventRow:
    return EventRow(tenant or stream, stream, version, "subdomain.claimed", STATE, group)


def stored(fact: Event, stream: UUID, version: int, group: int = 0) -> EventRow:
    return EventRow(stream, stream, version, fact.name, encoded(fact, Meta()), group)


def command(tenant: UUID, *, events: int = 0, group: int = 0, completed: bool = True) -> LedgerRow:
    return LedgerRow(tenant, uuid4(), b"hash", b'{"status":"completed"', completed, events, group)


def one_command(stream: UUID, read: int = 0, group: int = 0) -> Batch:
    """A command of the tenant `stream`, based on version `read`, that leads to one event."""
    return Batch(
        events=[event(stream, read + 1, group)],
        reads=[ReadRow(stream, read, group)],
        ledger=[command(stream, events=1, group=group)],
    )


def merged(*batches: Batch) -> Batch:
    """All of them in one, each row with the group it has."""
    whole = Batch()
    for batch in batches:
        whole.events += batch.events
        whole.reads += batch.reads
        whole.ledger += batch.ledger
        whole.progress += batch.progress
        whole.agenda += batch.agenda
        whole.dead_letters += batch.dead_letters
    return whole
