"""What commands come to: outcomes, events, refusals, repeats, conflicts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from handlers.execution.executor import Executor
from handlers.execution.reply import Reply
from handlers.store.batch import Batch
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, event_of, opened
from tenant_domain.tenant.decide import activated, status_reverted
from tenant_domain.values import Status
from tests.handlers.execution.commands import (
    active_tenant,
    executor_on,
    facts,
    happened,
    names_given,
    outcome,
    provision,
    rename,
    request,
)


async def test_a_tenant_that_is_provisioned_exists_and_its_saga_is_due(
    store: EventStore, executor: Executor, store_url: str
) -> None:
    tenant, command_id = uuid4(), uuid4()

    reply = await executor.execute(provision(tenant, command_id=command_id))

    operation_id = outcome(reply)["operation_id"]
    assert outcome(reply) == {
        "command_id": str(command_id),
        "tenant_id": str(tenant),
        "status": "completed",
        "version": 1,
        "position": 3,
        "operation_id": operation_id,
        "result": {},
    }
    assert reply.operation_id == UUID(operation_id)
    assert await facts(store, tenant) == [
        "tenant.provisioning_started",
        "subdomain.claimed",
        "operation.started",
    ]
    async with await psycopg.AsyncConnection.connect(store_url) as connection:
        agenda = await connection.execute(
            "SELECT operation_id, tenant_id, kind, owner, due_at FROM service.saga_agenda"
        )
        [(*run, due_at)] = await agenda.fetchall()
    assert run == [UUID(operation_id), tenant, "provisioning", None]
    assert due_at <= datetime.now(UTC)  # by the clock that the executor has, whatever the server's says


async def test_what_came_with_a_command_goes_on_with_its_events(
    store: EventStore, executor: Executor
) -> None:
    tenant, command_id = uuid4(), uuid4()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    await executor.execute(provision(tenant, command_id=command_id, Actor="ops", traceparent=trace))

    metas = [opened(event.state).meta for event in await store.read_tenant(tenant, 0, None, 10)]
    assert (
        metas
        == [
            Meta(actor="ops", correlation_id=str(command_id), causation_id=str(command_id), traceparent=trace)
        ]
        * 3
    )


async def test_a_command_that_changes_nothing_completes_with_the_present_version(
    store: EventStore, executor: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    await executor.execute(rename(tenant, "Better"))
    before = await store.head()

    again = outcome(await executor.execute(rename(tenant, "Better")))

    assert (again["status"], again["version"], again["position"]) == ("completed", 3, before)
    assert await store.head() == before


async def test_a_refusal_by_state_is_recorded_and_another_one_is_not(
    store: EventStore, executor: Executor
) -> None:
    tenant = uuid4()
    recorded, unrecorded = request(tenant, "resume"), provision(tenant, subdomain="www")

    refusals = [await executor.execute(each) for each in (recorded, unrecorded)]

    assert [(reply.status, reply.problem) for reply in refusals] == [
        (404, "tenant-not-found"),
        (422, "invalid-command"),
    ]
    keys = [(tenant, each.command_id) for each in (recorded, unrecorded)]
    assert list(await store.recorded(keys)) == [keys[0]]


async def test_a_repeated_command_gets_its_outcome_byte_for_byte_and_no_event(
    store: EventStore, executor: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    commands = [rename(tenant, "One"), request(uuid4(), "resume"), rename(tenant, "Two")]
    first = [await executor.execute(command) for command in commands]
    head = await store.head()

    again = [await executor.execute(command) for command in commands]

    assert again == first
    assert await store.head() == head


async def test_a_command_id_does_not_serve_twice(store: EventStore, executor: Executor) -> None:
    tenant = await active_tenant(store, executor)
    command_id = uuid4()
    await executor.execute(rename(tenant, "One", command_id=command_id))

    for other in (
        rename(tenant, "Two", command_id=command_id),
        request(tenant, "resume", command_id=command_id),
    ):
        reply = await executor.execute(other)
        assert (reply.status, reply.problem) == (422, "command-id-reused")
    assert await names_given(store, tenant) == ["One"]


async def test_an_id_is_a_tenant_s_own(store: EventStore, executor: Executor) -> None:
    command_id = uuid4()
    replies = [await executor.execute(provision(uuid4(), command_id=command_id)) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]


async def test_a_recorded_outcome_outlives_what_would_be_refused_today_without_a_record(
    store: EventStore, executor: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    command = request(tenant, "update_profile", {"subdomain": "later-reserved"})
    first = await executor.execute(command)
    stricter = executor_on(store)
    stricter._settler._policy = type(stricter._settler._policy)(  # pyright: ignore[reportPrivateUsage]
        reserved_subdomains=frozenset({"later-reserved"})
    )
    await stricter.start()

    await happened_elsewhere(store, tenant)
    again = await stricter.execute(command)

    assert again == first
    await stricter.stop()


async def happened_elsewhere(store: EventStore, tenant: UUID) -> None:
    """Move the tenant's subdomain on, so that the former command would change something again."""
    other = executor_on(store)
    await other.start()
    await other.execute(request(tenant, "update_profile", {"subdomain": f"t-{uuid4().hex}"}))
    await other.stop()


@pytest.mark.parametrize(
    ("expected", "status", "version"), [("2", 200, 3), ("1", 412, 2), ("3", 412, 2), ("0", 412, 2)]
)
async def test_an_expected_version_must_fit(
    store: EventStore, executor: Executor, expected: str, status: int, version: int
) -> None:
    tenant = await active_tenant(store, executor)

    command = rename(tenant, "Better", Expected_Version=expected)
    reply = await executor.execute(command)

    assert reply.status == status
    found = outcome(reply)
    assert (found["version"] if status == 200 else found["error"]["version"]) == version
    assert await executor.execute(command) == reply


async def test_what_does_not_exist_is_not_found_whatever_version_is_expected(executor: Executor) -> None:
    missing = await executor.execute(rename(uuid4(), "Better", Expected_Version="4"))
    assert missing.problem == "tenant-not-found"
    new = await executor.execute(provision(uuid4(), Expected_Version="0"))
    assert new.status == 200
    wrong = await executor.execute(provision(uuid4(), Expected_Version="1"))
    assert wrong.problem == "version-conflict"


async def test_a_subdomain_is_held_by_one_tenant_however_many_ask_at_once(
    executor: Executor, store: EventStore
) -> None:
    asking = [provision(uuid4(), subdomain="wanted") for _ in range(20)]

    replies = await asyncio.gather(*map(executor.execute, asking))

    assert sorted(reply.problem or "won" for reply in replies) == ["subdomain-taken"] * 19 + ["won"]
    assert replies[0].status == 200


async def test_commands_of_one_tenant_in_one_batch_see_each_other_in_order(
    store: EventStore, executor: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    commands = [rename(tenant, f"Name {number}") for number in range(50)]
    conflicting = [
        request(tenant, "suspend", {"reason": "late"}),
        rename(tenant, "Too late"),
        request(tenant, "suspend", {"reason": "again"}),
    ]

    replies = await asyncio.gather(*map(executor.execute, [*commands, *conflicting]))

    assert [outcome(reply)["version"] for reply in replies[:51]] == list(range(3, 54))
    assert [reply.problem for reply in replies[51:]] == ["operation-in-progress"] * 2
    assert await names_given(store, tenant) == [f"Name {number}" for number in range(50)]


async def test_a_tenant_can_be_provisioned_and_addressed_in_one_batch(executor: Executor) -> None:
    tenant = uuid4()
    new = provision(tenant)
    cancelled = request(tenant, "cancel_operation", {"operation_id": str(uuid4())})
    moved = request(tenant, "update_profile", {"subdomain": "elsewhere"})

    replies = await asyncio.gather(*map(executor.execute, [new, cancelled, moved]))

    assert [reply.problem for reply in replies] == [None, "not-found", "operation-in-progress"]


async def test_the_same_id_twice_in_one_batch_is_one_command(store: EventStore, executor: Executor) -> None:
    tenant = await active_tenant(store, executor)
    command_id = uuid4()
    one, other = (rename(tenant, name, command_id=command_id) for name in ("One", "Other"))

    replies = await asyncio.gather(*map(executor.execute, [one, one, other, one]))

    assert replies[0] == replies[1] == replies[3]
    assert [reply.status for reply in replies] == [200, 200, 422, 200]
    assert replies[2].problem == "command-id-reused"
    assert await names_given(store, tenant) == ["One"]


async def test_a_claim_in_one_batch_is_for_one_tenant(executor: Executor) -> None:
    claim, command_id, one, other = uuid4(), uuid4(), uuid4(), uuid4()
    first, second = (
        msgspec.structs.replace(
            provision(tenant, subdomain=f"t-{claim.hex}", command_id=command_id), claim=claim
        )
        for tenant in (one, other)
    )
    assert first.hash == second.hash

    replies = await asyncio.gather(*map(executor.execute, [first, second, first]))

    assert [reply.problem for reply in replies] == [None, "command-id-reused", None]
    assert outcome(replies[0])["tenant_id"] == outcome(replies[2])["tenant_id"] == str(one)


async def test_an_id_that_was_refused_without_a_record_serves_again_in_the_same_batch(
    store: EventStore, executor: Executor
) -> None:
    tenant, command_id = uuid4(), uuid4()
    wrong = provision(tenant, subdomain="www", command_id=command_id)
    right = provision(tenant, subdomain=f"t-{tenant.hex}", command_id=command_id)

    replies = await asyncio.gather(*map(executor.execute, [wrong, right, right]))

    assert [reply.status for reply in replies] == [422, 200, 200]
    assert replies[1] == replies[2]


@pytest.fixture
async def other(store_url: str, store: EventStore) -> AsyncIterator[Executor]:
    """A second executor, as another process would have it: own connections, own cache."""
    async with EventStore(store_url) as another:
        executor = executor_on(another)
        await executor.start()
        yield executor
        await executor.stop()


async def test_a_stale_cache_never_refuses_wrongly(
    store: EventStore, executor: Executor, other: Executor
) -> None:
    tenant = uuid4()
    assert (await other.execute(rename(tenant, "Early"))).problem == "tenant-not-found"
    await executor.execute(provision(tenant, subdomain="mine"))
    assert (await other.execute(rename(tenant, "Early"))).problem == "operation-in-progress"
    operation = (await store.read_tenant(tenant, 0, None, 1))[0]
    started = event_of(operation.topic, operation.state)
    await happened(store, tenant, activated(UUID(started.operation_id)))  # pyright: ignore

    assert (await other.execute(rename(tenant, "In time"))).status == 200
    moved = await executor.execute(request(tenant, "update_profile", {"subdomain": "moved"}))
    assert moved.status == 200
    assert (await other.execute(provision(uuid4(), subdomain="mine"))).status == 200
    assert (await other.execute(provision(uuid4(), subdomain="moved"))).problem == "subdomain-taken"


async def test_a_no_op_is_checked_like_a_write(
    store: EventStore, executor: Executor, other: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    await executor.execute(rename(tenant, "A"))
    await other.execute(rename(tenant, "B"))

    again = outcome(await executor.execute(rename(tenant, "A")))

    assert again["version"] == 5
    assert await names_given(store, tenant) == ["A", "B", "A"]


async def test_executors_that_race_on_one_tenant_lose_nothing(
    store: EventStore, executor: Executor, other: Executor
) -> None:
    tenant = await active_tenant(store, executor)

    async def write(one: Executor, mark: str) -> list[Reply]:
        return [await one.execute(rename(tenant, f"{mark}{number}")) for number in range(40)]

    replies = await asyncio.gather(*(write(one, mark) for mark in "abc" for one in (executor, other)))

    versions = sorted(outcome(reply)["version"] for each in replies for reply in each)
    assert versions == list(range(3, 243))
    names = await names_given(store, tenant)
    assert len(names) == 240
    for mark in "abc":
        # two writers gave each of these names: each of them in its own order
        numbers = [int(name[1:]) for name in names if name[0] == mark]
        assert sorted(numbers) == sorted([*range(40), *range(40)])


async def test_the_same_command_through_two_executors_is_done_once(
    store: EventStore, executor: Executor, other: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    commands = [rename(tenant, f"Name {number}") for number in range(100)]

    here = asyncio.gather(*map(executor.execute, commands))
    there = asyncio.gather(*map(other.execute, commands))

    assert await here == await there
    assert len(await names_given(store, tenant)) == 100


async def test_a_lone_command_does_not_wait_and_what_comes_meanwhile_shares_a_batch(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    started, gate = asyncio.Event(), asyncio.Event()
    append = store.append

    async def slow(batch: Batch) -> Any:
        sizes.append(len(batch.ledger))
        started.set()
        if len(sizes) == 1:
            await gate.wait()
        return await append(batch)

    monkeypatch.setattr(store, "append", slow)
    executor = executor_on(store, batch_size=8)
    await executor.start()
    first = asyncio.create_task(executor.execute(provision(uuid4())))
    await started.wait()
    rest = [asyncio.create_task(executor.execute(provision(uuid4()))) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *rest)

    assert sizes == [1, 8, 8, 4]
    await executor.stop()


async def test_callers_who_ask_again_one_after_another_share_a_batch(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    append = store.append

    async def counted(batch: Batch) -> Any:
        sizes.append(len(batch.ledger))
        return await append(batch)

    monkeypatch.setattr(store, "append", counted)
    executor = executor_on(store)
    await executor.start()

    async def caller(turns: int) -> None:
        for _ in range(4):
            await executor.execute(provision(uuid4()))
            for _ in range(turns):
                await asyncio.sleep(0)

    await asyncio.gather(*(caller(turns) for turns in range(8)))

    assert sizes == [8, 8, 8, 8]
    await executor.stop()


async def test_an_operation_that_is_older_than_the_ledger_s_memory_is_met_again(
    store: EventStore, executor: Executor, store_url: str
) -> None:
    tenant, command_id = await active_tenant(store, executor), uuid4()
    suspend = request(tenant, "suspend", {"reason": "late"}, command_id=command_id)
    operation = (await executor.execute(suspend)).operation_id
    assert operation is not None
    await happened(store, tenant, status_reverted(operation, Status.ACTIVE))
    async with await psycopg.AsyncConnection.connect(store_url) as connection:
        await connection.execute("DELETE FROM service.command_ledger")
    forgetful = executor_on(store)
    await forgetful.start()

    again = await forgetful.execute(suspend)

    assert (again.status, again.operation_id) == (200, operation)
    await forgetful.stop()
