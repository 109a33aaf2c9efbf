"""Loading streams: in bulk, from snapshots on, through the domain's own fold."""

import asyncio
from functools import partial
from uuid import UUID, uuid4

from handlers.store.batch import Batch, EventRow, KeyRow
from handlers.store.event_store import EventStore, Loaded, may_go_on
from handlers.store.queries import MOST_BYTES
from tenant_domain.decision import Ref
from tenant_domain.subdomain.events import SubdomainClaimed
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant.events import ProfileUpdated
from tests.handlers.store.batches import RELEASED, command, event, stored


def claimed(holder: UUID) -> SubdomainClaimed:
    return SubdomainClaimed(subdomain="acme", tenant_id=str(holder))


async def test_streams_are_loaded_in_bulk_and_an_empty_one_is_there_too(store: EventStore):
    one, two, none, holder = uuid4(), uuid4(), uuid4(), uuid4()
    await store.append(
        Batch(
            events=[
                stored(claimed(holder), one, 1),
                stored(claimed(holder), two, 1),
                stored(RELEASED, two, 2),
            ]
        )
    )
    assert await store.load([Ref("subdomain", stream) for stream in (one, two, none, one)]) == {
        one: Loaded(SubdomainClaim("acme", holder), 1),
        two: Loaded(SubdomainClaim("acme", None), 2),
        none: Loaded(None, 0),
    }


async def test_streams_and_keys_that_a_decision_rests_on_come_together(store: EventStore):
    stream, tenant, other = uuid4(), uuid4(), uuid4()
    first, second, theirs = uuid4(), uuid4(), uuid4()
    await store.append(
        Batch(events=[stored(claimed(tenant), stream, 1)], keys=[KeyRow(tenant, first, b"first", 0)])
    )
    await store.append(
        Batch(keys=[KeyRow(tenant, second, b"second", 0), KeyRow(other, theirs, b"theirs", 0)])
    )
    refs = [Ref("subdomain", stream), Ref("tenant", tenant)]
    loaded, keys = await store.load_to_append(refs, [tenant, uuid4()])

    assert loaded == await store.load(refs)
    assert keys == [(tenant, first, b"first"), (tenant, second, b"second")]
    assert await store.load_to_append(refs, []) == (loaded, [])
    assert await store.load_to_append([], [other]) == ({}, [(other, theirs, b"theirs")])


async def test_nothing_is_asked_where_nothing_is_wanted(store: EventStore):
    assert await store.load([]) == {}
    assert await store.recorded([]) == {}


async def test_only_what_the_ledger_has_is_recorded(store: EventStore):
    row = command(uuid4())
    await store.append(Batch(ledger=[row]))
    assert list(await store.recorded([row[:2], (row.tenant_id, uuid4())])) == [row[:2]]


async def test_the_log_is_read_in_pages_and_by_tenant(store: EventStore):
    one, two, holder = uuid4(), uuid4(), uuid4()
    await store.append(
        Batch(
            events=[
                stored(claimed(holder), one, 1),
                stored(claimed(holder), two, 1),
                stored(RELEASED, one, 2),
                stored(claimed(holder), one, 3),
            ]
        )
    )
    assert [item.position for item in await store.read(0, 2)] == [1, 2]
    assert [item.position for item in await store.read(2, 10)] == [3, 4]
    assert [item.position for item in await store.read_tenant(one, 0, None, 10)] == [1, 3, 4]
    assert [item.position for item in await store.read_tenant(one, 1, 3, 10)] == [3]
    assert [item.position for item in await store.read_tenant(one, 0, None, 1, ["subdomain.released"])] == [3]
    assert await store.head() == 4


async def test_readers_that_are_woken_together_each_get_what_they_asked_for(store: EventStore) -> None:
    await store.append(Batch(events=[event(uuid4(), 1, group) for group in range(5)]))

    async def positions(limit: int) -> list[int]:
        return [item.position for item in await store.read(1, limit)]

    few_first = await asyncio.gather(positions(2), positions(10), positions(3))
    assert few_first == [[2, 3], [2, 3, 4, 5], [2, 3, 4]]
    assert await asyncio.gather(positions(10), positions(2)) == [[2, 3, 4, 5], [2, 3]]
    first, second = asyncio.create_task(positions(10)), asyncio.create_task(positions(10))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == [2, 3, 4, 5]


async def test_a_read_ends_where_large_events_have_reached_its_bytes(store: EventStore):
    tenant, number, size = uuid4(), 40, 1024 * 1024
    for version in range(1, number + 1):
        row = EventRow(tenant, tenant, version, ProfileUpdated.name, b"x" * size, 0)
        await store.append(Batch(events=[row]))
    for read in (store.read, partial(store.read_tenant, tenant, upto=None)):
        versions: list[int] = []
        while page := await read(after=len(versions), limit=1000):
            assert sum(len(each.state) for each in page) < MOST_BYTES + size
            assert may_go_on(page, 1000) == (len(versions) + len(page) < number)
            versions += [each.version for each in page]
        assert versions == list(range(1, number + 1))


async def test_an_event_that_is_larger_than_a_read_is_read_alone(store: EventStore):
    tenant = uuid4()
    sizes = [1, MOST_BYTES + 1, 1]
    rows = [
        EventRow(tenant, tenant, n, ProfileUpdated.name, b"x" * size, 0) for n, size in enumerate(sizes, 1)
    ]
    await store.append(Batch(events=rows))
    assert [len(each.state) for each in await store.read(0, 10)] == sizes[:2]
    assert [len(each.state) for each in await store.read(1, 10)] == sizes[1:2]
