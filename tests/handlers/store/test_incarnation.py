"""What becomes of what was read of a database that was restored, or failed over, meanwhile."""

from contextlib import AsyncExitStack
from uuid import uuid4

import psycopg
import pytest

from handlers.store.batch import Batch
from handlers.store.connections import Connections
from handlers.store.errors import StoreUnavailable
from handlers.store.event_store import EventStore
from handlers.store.incarnation import Incarnation
from tests.handlers.store.batches import event, one_command


def connections_to(url: str, incarnation: Incarnation) -> Connections:
    return Connections(
        url,
        readers=2,
        statement_timeout=60,
        lock_timeout=60,
        idle_timeout=60,
        pool_timeout=60,
        incarnation=incarnation,
    )


async def test_a_connection_to_another_database_is_another_incarnation(
    store_url: str, postgres_url: str
) -> None:
    incarnation, begun_anew = Incarnation(), list[int]()
    incarnation.heard_by(lambda: begun_anew.append(incarnation.number))
    async with AsyncExitStack() as closing:
        one, two = connections_to(store_url, incarnation), connections_to(postgres_url, incarnation)
        await one.open()
        closing.push_async_callback(one.close)
        # Given one database
        ((first,),) = await one.fetch(b"SELECT current_database()::text", ())
        assert (incarnation.number, begun_anew) == (0, [])
        # When another one answers in its place
        await two.open()
        closing.push_async_callback(two.close)
        ((second,),) = await two.fetch(b"SELECT current_database()::text", ())
        # Then it is told, and what was read before is written nowhere
        assert first != second
        assert (incarnation.number, begun_anew) == (1, [1])
        with pytest.raises(StoreUnavailable, match="started anew"):
            await two.fetch(b"SELECT 1", (), incarnation=0)
        assert await two.fetch(b"SELECT 1", (), incarnation=1) == [(1,)]


async def test_what_was_decided_on_a_former_incarnation_is_not_written(store: EventStore) -> None:
    # Given batches that were decided before the database was started anew
    await store.append(one_command(uuid4()))
    lone, many = one_command(uuid4()), Batch(events=[event(uuid4(), 1), event(uuid4(), 1)])
    lone.incarnation = many.incarnation = store.incarnation.number
    store.incarnation.met("as after a restart")
    # When they are written
    for batch in (lone, many):
        with pytest.raises(StoreUnavailable, match="started anew"):
            await store.append(batch)
    with pytest.raises(StoreUnavailable, match="started anew"):
        async with store.transaction() as transaction:
            await transaction.append(many)
    # Then nothing of them is in the log, and what is decided anew is
    assert await store.head() == 1
    lone.incarnation = store.incarnation.number
    assert (await store.append(lone)).positions == [2]


async def test_the_clock_is_told_to_be_behind_the_log(store: EventStore) -> None:
    assert await store.clock_behind() == 0
    await store.append(one_command(uuid4()))
    assert await store.clock_behind() == 0
    async with store.transaction() as transaction:
        ahead = "UPDATE service.events SET recorded_at = now() + interval '1 hour'"
        await transaction.connection.execute(ahead)
    assert 3500 < await store.clock_behind() <= 3600
    with pytest.raises(psycopg.Error):
        async with store.transaction() as transaction:
            await transaction.connection.execute("UPDATE service.event_head SET position = 0")
