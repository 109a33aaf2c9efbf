"""What a caller is told when the database breaks, and that the store comes back by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from deploy.embedded import EmbeddedStack
from handlers.store import connections
from handlers.store.batch import Batch, ProgressRow, Recorded
from handlers.store.errors import AmbiguousCommit, Fenced, StoreUnavailable
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from tenant_domain.decision import Ref
from tests.handlers.store.batches import event, one_command
from tests.support.proxy import Proxy
from tests.support.waiting import within

OWNER = UUID(int=1)


@pytest.fixture
async def proxy(store_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(store_url) as between:
        yield between


@pytest.fixture
async def shaky(proxy: Proxy) -> AsyncIterator[EventStore]:
    """The same database, as seen through the proxy."""
    async with EventStore(proxy.url) as opened:
        yield opened


async def test_a_commit_whose_answer_was_lost_is_ambiguous_and_can_be_repeated(
    proxy: Proxy, shaky: EventStore
) -> None:
    await shaky.append(Batch())
    batch = one_command(uuid4())
    row = batch.ledger[0]
    proxy.lose_answer(row.command_id.bytes)
    with pytest.raises(AmbiguousCommit):
        await shaky.append(batch)
    again = await shaky.append(batch)
    assert (again.head, again.dropped, again.positions) == (1, {0}, [None])
    assert again.repeated == {row[:2]: Recorded(row.hash, row.outcome, 1)}


async def test_progress_that_was_written_fences_its_repetition(proxy: Proxy, shaky: EventStore) -> None:
    async with shaky.transaction() as transaction:
        await transaction.connection.execute(
            "UPDATE service.command_progress SET owner = %s WHERE partition = 3", (OWNER,)
        )
    await shaky.append(Batch())
    batch = one_command(uuid4())
    batch.progress.append(ProgressRow(3, OWNER, 0, 9))
    proxy.lose_answer(batch.ledger[0].command_id.bytes)
    with pytest.raises(AmbiguousCommit):
        await shaky.append(batch)
    with pytest.raises(Fenced):
        await shaky.append(batch)
    async with shaky.transaction() as transaction:
        cursor = await transaction.connection.execute(
            "SELECT sequence FROM service.command_progress WHERE partition = 3"
        )
        assert await cursor.fetchone() == (9,)


async def test_without_a_database_nothing_is_written_and_later_all_works(proxy: Proxy) -> None:
    async with EventStore(proxy.url, pool_timeout=0.3) as hasty:
        await hasty.append(one_command(uuid4()))
        await proxy.down()
        with pytest.raises(StoreUnavailable):
            await hasty.append(one_command(uuid4()))
        with pytest.raises(StoreUnavailable):
            await hasty.head()
        with pytest.raises(StoreUnavailable):
            await hasty.load([Ref("subdomain", uuid4())])
        with pytest.raises(StoreUnavailable):
            await in_a_transaction(hasty, one_command(uuid4()))
        await proxy.up()
        assert (await hasty.append(one_command(uuid4()))).head == 2
        assert await at_last(hasty.head) == 2


async def at_last(ask: Callable[[], Awaitable[int]]) -> int:
    """Ask until the database is reached."""
    async with within("a store that is available again"):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await ask()


async def in_a_transaction(store: EventStore, batch: Batch) -> None:
    async with store.transaction() as transaction:
        await transaction.append(batch)


async def test_a_server_that_was_killed_while_nothing_was_asked_is_no_ambiguity(
    own_stack: EmbeddedStack, restarts: asyncio.Queue[str]
) -> None:
    url = own_stack.endpoints.postgres_url
    await migrate(url)
    async with EventStore(url) as store:
        await store.append(one_command(uuid4()))
        await asyncio.gather(*(store.head() for _ in range(5)))
        await own_stack.kill("postgres")
        assert await restarts.get() == "postgres"
        assert (await store.append(one_command(uuid4()))).head == 2
        assert await asyncio.gather(*(store.head() for _ in range(5))) == [2] * 5


async def test_a_server_that_does_not_answer_is_given_up(
    own_stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MARGIN", 0.2)
    url = own_stack.endpoints.postgres_url
    await migrate(url)
    async with EventStore(url, statement_timeout=0.2) as store:
        batch = one_command(uuid4())
        await store.append(Batch())
        await store.head()
        own_stack.pause("postgres")
        appending, reading = await asyncio.gather(store.append(batch), store.head(), return_exceptions=True)
        own_stack.resume("postgres")
        assert isinstance(appending, AmbiguousCommit)
        assert isinstance(reading, StoreUnavailable)


async def test_a_writer_that_waits_too_long_for_the_others_has_written_nothing(store_url: str) -> None:
    async with EventStore(store_url) as slow, EventStore(store_url, lock_timeout=0.1) as hasty:
        async with slow.transaction() as transaction:
            await transaction.append(one_command(uuid4()))
            with pytest.raises(StoreUnavailable):
                await hasty.append(one_command(uuid4()))
        assert (await hasty.append(one_command(uuid4()))).head == 2


async def test_a_process_that_stops_in_its_transaction_does_not_stop_the_others(store_url: str) -> None:
    async with EventStore(store_url, idle_timeout=0.5) as stopped, EventStore(store_url) as other:
        resumed = asyncio.Event()
        held = asyncio.Event()

        async def stop_in_the_middle() -> None:
            async with stopped.transaction() as transaction:
                await transaction.append(one_command(uuid4()))
                held.set()
                await resumed.wait()

        stopping = asyncio.create_task(stop_in_the_middle())
        await held.wait()
        appended = await other.append(one_command(uuid4()))
        resumed.set()
        with pytest.raises((StoreUnavailable, AmbiguousCommit)):
            await stopping
        assert (appended.head, await other.head()) == (1, 1)


async def test_a_commit_of_a_transaction_whose_answer_was_lost_is_ambiguous(
    proxy: Proxy, shaky: EventStore
) -> None:
    await shaky.head()
    proxy.lose_answer(b"COMMIT")
    with pytest.raises(AmbiguousCommit):
        await in_a_transaction(shaky, one_command(uuid4()))
    assert await shaky.head() == 1


async def test_a_transaction_that_lost_its_connection_before_the_commit_has_written_nothing(
    proxy: Proxy, shaky: EventStore, store_url: str
) -> None:
    async def cut_short() -> None:
        async with shaky.transaction() as transaction:
            await transaction.append(one_command(uuid4()))
            await proxy.down()
            await transaction.connection.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await cut_short()
    async with EventStore(store_url) as unharmed:
        assert await unharmed.head() == 0


async def test_an_append_that_was_cancelled_leaves_the_store_usable(store_url: str) -> None:
    async with EventStore(store_url) as holder, EventStore(store_url) as store:
        async with holder.transaction() as transaction:
            await transaction.append(one_command(uuid4()))
            waiting = asyncio.create_task(store.append(one_command(uuid4())))
            await until_somebody_waits(holder)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert not (await store.append(one_command(uuid4()))).dropped


async def until_somebody_waits(store: EventStore) -> None:
    """Return once a connection to this database waits for a lock."""
    async with store.transaction() as transaction:
        await transaction.connection.execute("""
            DO $$ BEGIN
                WHILE NOT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_locks l USING (pid)
                                  WHERE a.datname = current_database() AND NOT l.granted)
                LOOP PERFORM pg_stat_clear_snapshot(); END LOOP;
            END $$""")


async def test_a_mistake_in_a_batch_is_not_called_an_outage(store: EventStore) -> None:
    row = event(uuid4(), 1)._replace(topic="with\0zero")
    with pytest.raises(psycopg.DataError):
        await store.append(Batch(events=[row]))
    assert (await store.append(one_command(uuid4()))).head == 1


async def test_a_connection_that_takes_longer_than_anybody_waits_is_there_in_the_end(store_url: str):
    stream = uuid4()
    async with Proxy(store_url) as proxy, EventStore(proxy.url, turn_timeout=0.3) as store:
        proxy.late = 0.2  # to connect takes several answers
        given_up = 0
        async with within("a store that takes the command again"):
            while True:
                try:
                    await store.append(one_command(stream))
                    break
                except StoreUnavailable:
                    given_up += 1
        assert given_up > 0
        assert (await store.read(0, 10))[0].stream_id == stream
