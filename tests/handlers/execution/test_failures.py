"""What commands come to when something breaks: the database, a commit, a command's own code."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from deploy.embedded import EmbeddedStack
from handlers.execution import attempt
from handlers.execution.decode import Request
from handlers.execution.executor import Executor
from handlers.execution.job import Job, Origin
from handlers.execution.reply import Reply
from handlers.store.batch import Appended, Batch
from handlers.store.errors import StoreUnavailable
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from tenant_domain.registry import COMMANDS
from tests.handlers.execution.commands import (
    active_tenant,
    executor_on,
    facts,
    outcome,
    provision,
    rename,
    request,
    served,
)
from tests.support.hanging import hung
from tests.support.proxy import Proxy


@pytest.fixture
async def proxy(store_url: str, store: EventStore) -> AsyncIterator[Proxy]:
    async with Proxy(store_url) as between:
        yield between


@pytest.fixture
async def shaky(proxy: Proxy) -> AsyncIterator[EventStore]:
    """The same database, as seen through the proxy."""
    async with EventStore(proxy.url, pool_timeout=0.5) as opened:
        yield opened


async def test_a_command_that_meets_no_database_is_unavailable_and_surely_not_done(
    proxy: Proxy, shaky: EventStore, store: EventStore
) -> None:
    executor = executor_on(shaky, unavailable_after=1.0)
    await executor.start()
    warm = uuid4()
    assert (await served(executor, provision(warm))).status == 200
    await proxy.down()

    # one whose state is cached goes straight to the append, the other one to a load
    replies = await asyncio.gather(*map(executor.execute, [rename(warm, "B"), provision(uuid4())]))

    assert [reply.problem for reply in replies] == ["unavailable", "unavailable"]
    assert outcome(replies[0])["error"]["retry_after"] == 1
    await proxy.up()
    assert (await served(executor, provision(uuid4()))).status == 200
    assert await facts(store, warm) == [
        "tenant.provisioning_started",
        "subdomain.claimed",
        "operation.started",
    ]
    await executor.stop()


async def test_commands_are_told_when_a_database_hangs_and_surely_not_done(own_stack: EmbeddedStack) -> None:
    await migrate(own_stack.endpoints.postgres_url)
    async with EventStore(own_stack.endpoints.postgres_url, turn_timeout=0.5) as store:
        executor = executor_on(store, unavailable_after=0.5)
        await executor.start()
        tenant = uuid4()
        await served(executor, provision(tenant))
        async with hung(own_stack) as server:
            unread = [provision(uuid4()), request(uuid4(), "resume")]
            replies = await server.sooner(*map(executor.execute, unread))
            assert [reply.problem for reply in replies] == ["unavailable"] * 2
        assert (await served(executor, request(tenant, "resume"))).problem == "operation-in-progress"
        async with hung(own_stack) as server:
            # another of this process has sent its append, and hangs: no turn comes
            other = asyncio.create_task(store.append(Batch()))
            await asyncio.sleep(0)
            [reply] = await server.sooner(executor.execute(rename(tenant, "B")))
            assert reply.problem == "unavailable"
        await other
        assert await store.head() == 3
        assert (await served(executor, provision(uuid4()))).status == 200
        await executor.stop()


async def test_memory_is_bounded_while_the_database_is_down(proxy: Proxy, shaky: EventStore) -> None:
    executor = executor_on(shaky, waiting_commands=10, batch_size=5, unavailable_after=30)
    await executor.start()
    await proxy.down()
    replies = [asyncio.create_task(executor.execute(provision(uuid4()))) for _ in range(50)]

    await asyncio.wait(replies, return_when=asyncio.FIRST_COMPLETED)
    refused = [reply.result().problem for reply in replies if reply.done()]
    assert set(refused) <= {"unavailable", "rate-limited"}
    await proxy.up()
    await asyncio.gather(*replies)
    assert sum(reply.result().status == 200 for reply in replies) == 50 - len(refused)
    await executor.stop()


async def test_what_waits_is_bounded_in_bytes(store: EventStore) -> None:
    executor = executor_on(store, waiting_bytes=200_000)
    await executor.start()
    big = [request(uuid4(), "update_profile", {"settings": {"text": "x" * 90_000}}) for _ in range(5)]
    replies = await asyncio.gather(*map(executor.execute, big))
    assert sorted(reply.problem or "" for reply in replies) == ["rate-limited"] * 3 + ["tenant-not-found"] * 2
    await executor.stop()


async def test_a_commit_whose_answer_was_lost_is_answered_by_the_ledger(
    proxy: Proxy, shaky: EventStore, store: EventStore
) -> None:
    executor = executor_on(shaky)
    await executor.start()
    await executor.execute(provision(uuid4()))
    tenants = [uuid4() for _ in range(3)]
    await executor.execute(request(tenants[0], "resume"))
    proxy.lose_answer(tenants[0].bytes)

    commands = [provision(tenant) for tenant in tenants]
    replies = await asyncio.gather(*map(executor.execute, commands))

    assert proxy.lost.is_set()
    assert [reply.status for reply in replies] == [200, 200, 200]
    for tenant in tenants:
        assert len(await facts(store, tenant)) == 3
    assert await asyncio.gather(*map(executor.execute, commands)) == replies
    await executor.stop()


async def test_what_may_have_been_written_is_never_called_unavailable(
    proxy: Proxy, shaky: EventStore, store: EventStore
) -> None:
    executor = executor_on(shaky, unavailable_after=0.1)
    await executor.start()
    tenant, command_id = uuid4(), uuid4()
    await executor.execute(request(tenant, "resume"))
    proxy.lose_answer(command_id.bytes)
    command = asyncio.create_task(executor.execute(provision(tenant, command_id=command_id)))
    await proxy.lost.wait()
    await proxy.down()

    other = await executor.execute(provision(uuid4()))

    assert other.problem == "unavailable"
    assert not command.done()
    await proxy.up()
    assert (await command).status == 200
    assert len(await facts(store, tenant)) == 3
    await executor.stop()


Decide = Callable[..., Any]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Decide], None]:
    """Put other code in the place of a command's decision."""

    def replace(command: str, decide: Decide) -> None:
        spec = COMMANDS[command]._replace(decide=decide)
        monkeypatch.setattr(attempt, "COMMANDS", {**COMMANDS, command: spec})

    return replace


async def test_a_command_whose_code_breaks_does_not_take_its_batch_down(
    executor: Executor, store: EventStore, poisoned: Callable[[str, Decide], None]
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a defect")

    poisoned("resume", broken)
    good = [provision(uuid4()) for _ in range(5)]
    bad = request(good[0].tenant_id, "resume")

    replies = await asyncio.gather(*map(executor.execute, [good[0], bad, *good[1:]]))

    assert [reply.problem for reply in replies] == [None, "unavailable", None, None, None, None]
    assert await store.recorded([(bad.tenant_id, bad.command_id)]) == {}


async def test_a_command_that_no_transaction_can_hold_is_found_among_the_others(
    executor: Executor, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = provision(uuid4())
    append = store.append

    async def choosy(batch: Any) -> Any:
        if any(row.command_id == bad.command_id for row in batch.ledger):
            raise ValueError("cannot be packed")
        return await append(batch)

    monkeypatch.setattr(store, "append", choosy)
    good = [provision(uuid4()) for _ in range(9)]

    replies = await asyncio.gather(*map(executor.execute, [*good[:4], bad, *good[4:]]))

    assert [reply.problem for reply in replies] == [*[None] * 4, "unavailable", *[None] * 5]


async def test_a_stream_that_cannot_be_read_troubles_its_own_tenant_only(
    executor: Executor, store: EventStore, store_url: str
) -> None:
    odd = uuid4()
    await executor.execute(provision(odd))
    async with await psycopg.AsyncConnection.connect(store_url) as connection:
        await connection.execute(
            "UPDATE service.events SET topic = 'tenant.from_the_future' WHERE originator_id = %s", (odd,)
        )
    fresh = executor_on(store)
    await fresh.start()

    replies = await asyncio.gather(
        *map(fresh.execute, [provision(uuid4()), rename(odd, "X"), provision(uuid4())])
    )

    assert [reply.problem for reply in replies] == [None, "unavailable", None]
    await fresh.stop()


@pytest.mark.parametrize("trouble", [StoreUnavailable, ValueError])
@pytest.mark.parametrize("conflicting", [1, 2])
async def test_partitions_are_written_as_decided_whatever_befalls_others_of_their_batch(
    executor: Executor,
    store: EventStore,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    trouble: type[Exception],
    conflicting: int,
) -> None:
    owner, written_meanwhile = uuid4(), [await active_tenant(store, executor) for _ in range(conflicting)]
    commands = [provision(uuid4()), *(rename(each, "B") for each in written_meanwhile)]
    async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as connection:
        await connection.execute("UPDATE service.command_progress SET owner = %s", (owner,))
        raising = [None, trouble]
        append = store.append

        async def troubled(batch: Batch) -> Appended:
            error = raising.pop(0) if raising else None
            if error is not None:
                raise error("as the test wants it")
            return await append(batch)

        monkeypatch.setattr(store, "append", troubled)
        pieces = await asyncio.gather(
            *(
                executor.settle(partition, owner, 0, [durable(command, 7 + partition)])
                for partition, command in enumerate(commands)
            )
        )
        assert raising == []
        rows = await connection.execute("SELECT partition, sequence FROM service.command_progress")
        reached = dict(await rows.fetchall())
    for piece in pieces:
        assert reached[piece.partition] == piece.sequence
        assert piece.sequence == (0 if piece.failed else 7 + piece.partition)
    assert pieces[0].failed is None


def durable(command: Request, sequence: int) -> Job:
    """Return a command as its partition's reader has it."""
    tenant = str(command.tenant_id)
    return Job(lambda _: None, request=command, origin=Origin("S", sequence, 0, tenant, "s", {}, b""))


async def test_a_stopped_executor_refuses_and_keeps_its_word(store: EventStore) -> None:
    executor = executor_on(store)
    await executor.start()
    waiting = [asyncio.create_task(executor.execute(provision(uuid4()))) for _ in range(1200)]
    await asyncio.sleep(0)

    await executor.stop()

    replies: list[Reply] = [await each for each in waiting]
    assert {reply.problem for reply in replies} <= {None, "unavailable"}
    ids = [UUID(outcome(reply)["tenant_id"]) for reply in replies if reply.status == 200]
    assert await store.head() == 3 * len(ids)
    assert (await executor.execute(provision(uuid4()))).problem == "unavailable"


async def test_stopping_without_a_database_is_quick_and_tells_everybody(
    proxy: Proxy, shaky: EventStore
) -> None:
    executor = executor_on(shaky, unavailable_after=60)
    await executor.start()
    await proxy.down()
    waiting = [asyncio.create_task(executor.execute(provision(uuid4()))) for _ in range(600)]
    await asyncio.sleep(0.05)

    await executor.stop(grace=0.1)

    assert {(await each).problem for each in waiting} == {"unavailable"}
