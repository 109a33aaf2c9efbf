"""A long stream is folded from its snapshot on, which is written beside the commit path and never trusted."""

from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from handlers.store import event_store as event_store_module
from handlers.store import snapshots
from handlers.store.batch import Batch
from handlers.store.event_store import EventStore, Loaded
from tenant_domain.decision import Ref
from tenant_domain.registry import ENTITIES
from tenant_domain.subdomain.events import SubdomainClaimed
from tenant_domain.subdomain.state import SubdomainClaim
from tests.handlers.store.batches import RELEASED, stored
from tests.support.examples import EVENT_EXAMPLES

HOLDER = UUID(int=7)
CLAIMED = SubdomainClaimed(subdomain="acme", tenant_id=str(HOLDER))


async def write(store: EventStore, stream: UUID, first: int, last: int) -> None:
    """Claim at odd versions, release at even ones."""
    facts = [
        stored(CLAIMED if version % 2 else RELEASED, stream, version) for version in range(first, last + 1)
    ]
    await store.append(Batch(events=facts))


async def load(store_url: str, stream: UUID) -> Loaded:
    """Load with a store of its own, whose closing waits for the snapshots it writes."""
    async with EventStore(store_url, snapshot_every=100) as store:
        return (await store.load([Ref("subdomain", stream)]))[stream]


def taken(store_url: str) -> list[tuple[UUID, int]]:
    with psycopg.connect(store_url) as connection:
        return connection.execute("SELECT stream_id, version FROM service.snapshots").fetchall()


def spoil(store_url: str, statement: bytes, *values: object) -> None:
    with psycopg.connect(store_url) as connection:
        connection.execute(statement, values)


async def test_a_stream_gets_a_snapshot_when_a_load_folded_many_events(store: EventStore, store_url: str):
    stream = uuid4()
    await write(store, stream, 1, 99)
    await load(store_url, stream)
    assert taken(store_url) == []
    await write(store, stream, 100, 101)
    assert await load(store_url, stream) == Loaded(SubdomainClaim("acme", HOLDER), 101)
    assert taken(store_url) == [(stream, 101)]


async def test_events_before_the_snapshot_are_not_read_again(store: EventStore, store_url: str):
    stream = uuid4()
    await write(store, stream, 1, 101)
    await load(store_url, stream)
    spoil(store_url, b"UPDATE service.events SET state = 'unreadable' WHERE originator_version <= 101")
    assert await load(store_url, stream) == Loaded(SubdomainClaim("acme", HOLDER), 101)
    await write(store, stream, 102, 102)
    assert await load(store_url, stream) == Loaded(SubdomainClaim("acme", None), 102)


async def test_a_later_snapshot_replaces_the_former(store: EventStore, store_url: str):
    stream = uuid4()
    for first, last in ((1, 101), (102, 250)):
        await write(store, stream, first, last)
        await load(store_url, stream)
    assert taken(store_url) == [(stream, 250)]


async def test_a_snapshot_of_other_code_is_not_read_but_replaced(store: EventStore, store_url: str):
    stream = uuid4()
    await write(store, stream, 1, 101)
    await load(store_url, stream)
    spoil(store_url, b"UPDATE service.snapshots SET format = 'other', version = 500, state = '{}'")
    assert (await load(store_url, stream)).version == 101
    assert taken(store_url) == [(stream, 101)]


async def test_a_snapshot_that_cannot_be_written_costs_no_load(
    store: EventStore, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    stream = uuid4()
    await write(store, stream, 1, 101)
    monkeypatch.setattr(
        event_store_module.queries, "SAVE_SNAPSHOTS", b"INSERT INTO nowhere SELECT %s, %s, %s, %s"
    )
    assert (await load(store_url, stream)).version == 101
    assert taken(store_url) == []


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_state_comes_back_from_its_snapshot_as_it_was(entity: str):
    kind = ENTITIES[entity]
    state = None
    for event in kind.events:
        state = kind.evolve(state, EVENT_EXAMPLES[event.name])
        rows = [(UUID(int=1), 5, None, msgspec.json.encode(state))]
        assert snapshots.folded(entity, rows) == Loaded(state, 5)
    assert state is not None


def test_formats_tell_entities_apart_and_change_with_the_code(monkeypatch: pytest.MonkeyPatch):
    formats = {entity: snapshots.snapshot_format(entity) for entity in ENTITIES}
    assert len(set(formats.values())) == len(ENTITIES)
    snapshots.snapshot_format.cache_clear()
    monkeypatch.setattr(snapshots.inspect, "getsource", lambda module: "changed")  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert snapshots.snapshot_format("tenant") != formats["tenant"]
    monkeypatch.undo()
    snapshots.snapshot_format.cache_clear()
