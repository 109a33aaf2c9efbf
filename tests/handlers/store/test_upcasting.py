"""An event whose fields have changed since is read as today's, from the log and through the library."""

from typing import Any, ClassVar
from uuid import UUID, uuid4

import msgspec
import pytest
from eventsourcing.persistence import JSONTranscoder, MapperDeserialisationError, StoredEvent

from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.store.library import Fact, TenantMapper
from handlers.wire import events
from handlers.wire.events import Meta, UnknownEvent, decoded, event_of
from tenant_domain import registry
from tenant_domain.aggregate import Aggregate
from tenant_domain.decision import Event, Ref
from tenant_domain.registry import ENTITIES

NAME = "badge.issued"
STREAM = UUID(int=5)
V1 = b'{"v":1,"data":{"holder":"Ada Lovelace"},"meta":{"actor":"ops"}}'
V2 = b'{"v":2,"data":{"first":"Ada","last":"Lovelace"},"meta":{}}'
V3 = b'{"v":3,"data":{"first":"Ada","last":"Lovelace","level":1},"meta":{}}'
V4 = b'{"v":4,"data":{},"meta":{}}'


class BadgeIssued(Event, frozen=True, kw_only=True):
    """Made up: once had `holder`, then `first` and `last`, then a `level` as well."""

    name: ClassVar[str] = NAME
    schema: ClassVar[int] = 3
    first: str
    last: str
    level: int


def split_holder(fields: dict[str, Any]) -> dict[str, Any]:
    first, last = fields["holder"].split()
    return {"first": first, "last": last}


def add_level(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "level": 1}


def evolve(state: BadgeIssued | None, event: Event) -> BadgeIssued | None:
    return event if isinstance(event, BadgeIssued) else state


@pytest.fixture(autouse=True)
def _badges(monkeypatch: pytest.MonkeyPatch) -> None:
    upcasters = {(NAME, 1): split_holder, (NAME, 2): add_level}
    badge = Aggregate("badge", BadgeIssued, evolve, (BadgeIssued,), (), upcasters)
    monkeypatch.setitem(ENTITIES, "badge", badge)  # pyright: ignore[reportArgumentType]  a dict, seen as a Mapping
    monkeypatch.setitem(registry.EVENTS, NAME, BadgeIssued)  # pyright: ignore[reportArgumentType]
    for key, upcast in upcasters.items():
        monkeypatch.setitem(registry.UPCASTERS, key, upcast)  # pyright: ignore[reportArgumentType]
    reader = msgspec.json.Decoder(BadgeIssued).decode
    monkeypatch.setitem(events._readers, NAME, reader)  # pyright: ignore[reportPrivateUsage]


TODAY = BadgeIssued(first="Ada", last="Lovelace", level=1)


@pytest.mark.parametrize("body", [V1, V2, V3])
def test_any_former_version_is_read_as_todays(body: bytes):
    assert event_of(NAME, body) == TODAY


def test_a_newer_version_than_this_program_knows_is_refused():
    with pytest.raises(UnknownEvent, match="version 4"):
        event_of(NAME, V4)


def test_a_name_that_this_program_does_not_know_is_refused():
    with pytest.raises(UnknownEvent, match=r"badge\.burnt"):
        decoded("badge.burnt", 1, b"{}")


@pytest.mark.parametrize("body", [V1, V2, V3])
async def test_a_stream_with_former_versions_folds(store: EventStore, body: bytes):
    stream = uuid4()
    await store.append(Batch(events=[EventRow(stream, stream, 1, NAME, body, 0)]))
    assert (await store.load([Ref("badge", stream)]))[stream].state == TODAY


@pytest.mark.parametrize("body", [V1, V2, V3])
def test_the_library_reads_former_versions_too(body: bytes):
    fact = TenantMapper(JSONTranscoder()).to_domain_event(StoredEvent(STREAM, 9, NAME, body))
    meta = Meta(actor="ops") if body == V1 else Meta()
    assert fact == Fact(STREAM, 9, TODAY, meta)


def test_the_library_says_what_it_could_not_read():
    with pytest.raises(MapperDeserialisationError, match=r"badge\.issued of .* version 4"):
        TenantMapper(JSONTranscoder()).to_domain_event(StoredEvent(STREAM, 9, NAME, V4))
