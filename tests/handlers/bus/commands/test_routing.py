"""A tenant's commands belong to one worker at every door, and none is lost, doubled or late when that one
is away."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats.errors
import pytest
from nats.aio.msg import Msg

from deploy.embedded import EmbeddedStack, Endpoints
from handlers.bus.commands import CommandsRole
from handlers.bus.connection import flush
from handlers.bus.replies import Replies
from handlers.bus.routing.receiving import Receiver
from handlers.bus.streams import declare
from handlers.client import Request, TenantClient
from handlers.execution.executor import Executor
from handlers.execution.reply import Reply
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from handlers.wire.subjects import FLEET, Streams, Subjects, partition_of
from tests.handlers.bus.commands.conftest import LIMITS
from tests.handlers.bus.commands.routes import door_on, recorded, recording
from tests.handlers.bus.commands.service import (
    Caller,
    active_tenants,
    connect,
    outcome,
    problem,
    progress,
    provisioning,
    role_on,
)
from tests.handlers.bus.commands.test_workers import shares
from tests.handlers.bus.commands.worker import Worker
from tests.handlers.execution.commands import executor_on, names_given, rename, request
from tests.support.bus import Bus, messages_of
from tests.support.waiting import PATIENCE, soon, until, within


@pytest.fixture
async def executor(store: EventStore) -> AsyncIterator[Executor]:
    """What decides where another worker owns the partitions."""
    one = executor_on(store)
    await one.start()
    yield one
    await one.stop()


async def test_a_tenant_is_in_the_partition_that_the_server_puts_it_into(caller: Caller, bus: Bus) -> None:
    tenants = [uuid4() for _ in range(30)]
    await caller.pour([(tenant, "resume", {}) for tenant in tenants])

    stored = [message.subject.split(".")[2:4] for message in await messages_of(bus.nc, bus.streams.commands)]

    assert stored == [[str(partition_of(str(tenant), 8)), str(tenant)] for tenant in tenants]


@asynccontextmanager
async def two_workers(nats_url: str, postgres_url: str, bus: Bus) -> AsyncGenerator[list[CommandsRole]]:
    """Run two workers that know of each other and have half of the partitions each."""
    async with (
        role_on(nats_url, postgres_url, bus, tick=0.05) as one,
        role_on(nats_url, postgres_url, bus, tick=0.05) as other,
    ):
        workers = [one, other]
        await until(shares(postgres_url, 4, 5))
        await until(lambda: _agreed(workers))
        yield workers


async def _agreed(workers: list[CommandsRole]) -> bool:
    """Say whether both know who owns what."""
    one, other = workers
    known = one.owners.all
    halves = sorted(known.count(owner) for owner in set(known))
    return known == other.owners.all and None not in known and halves in ([4, 4], [3, 5])


def _owner(workers: list[CommandsRole], tenant: UUID) -> int:
    [owner] = [
        each for each, role in enumerate(workers) if partition_of(str(tenant), 8) in role.durable.partitions
    ]
    return owner


async def test_whatever_door_a_command_comes_in_by_the_owner_of_its_partition_decides(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with (
        two_workers(nats_url, migrated, bus) as workers,
        door_on(nats_url, store, bus) as door,
    ):
        seen = [recording(role.executor) for role in workers]
        caller = Caller(bus)
        tenants = [uuid4() for _ in range(20)]
        for tenant in tenants:
            assert problem(await caller.ask(tenant, "provision", provisioning(tenant))) is None
            assert problem(await caller.ask(tenant, "resume")) == "operation-in-progress"
            assert (await door.execute(request(tenant, "resume"))).problem == "operation-in-progress"

        decided = [[each.tenant_id for each in requests] for requests in seen]
        assert {_owner(workers, tenant) for tenant in tenants} == {0, 1}
        for tenant in tenants:
            assert [decided[0].count(tenant), decided[1].count(tenant)][_owner(workers, tenant)] == 3
        assert len(decided[0]) + len(decided[1]) == 60
        assert door.here == []
        assert (door.forwarded("owner"), door.forwarded("sender")) == (20, 0)


async def test_many_commands_of_many_tenants_are_each_done_once_by_their_owners(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with two_workers(nats_url, migrated, bus) as workers:
        client = TenantClient(bus.nc, prefix=bus.subjects.prefix, streams=bus.streams)
        tenants = await active_tenants(store, Caller(bus), 12)
        settled = [recorded(role.executor) for role in workers]
        names = [f"Apex {number}" for number in range(10)]
        wanted = [Request(tenant, "update_profile", {"name": name}) for name in names for tenant in tenants]
        sent = await client.send_many(wanted, timeout=PATIENCE)
        assert [each.error for each in sent] == [None] * len(wanted)

        async def done() -> bool:
            return all([len(await names_given(store, tenant)) >= len(names) for tenant in tenants])

        await until(done)
        for tenant in tenants:
            assert await names_given(store, tenant) == names
            counts = [each.count(tenant) for each in settled]
            assert counts[_owner(workers, tenant)] == len(names)
            assert counts[1 - _owner(workers, tenant)] == 0
        assert {_owner(workers, tenant) for tenant in tenants} == {0, 1}


async def test_a_command_for_many_operations_is_given_to_the_owner_of_each_and_done_once(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with two_workers(nats_url, migrated, bus) as workers:
        caller = Caller(bus)
        runs: dict[UUID, str] = {}
        for tenant in [uuid4() for _ in range(20)]:
            runs[tenant] = outcome(await caller.ask(tenant, "provision", provisioning(tenant)))[
                "operation_id"
            ]
        items = [{"tenant_id": str(each), "operation_id": run} for each, run in runs.items()]

        async def list_(message: Msg) -> None:
            await message.respond(json.dumps({"items": items, "next_cursor": None}).encode())

        await bus.nc.subscribe(bus.subjects.query(FLEET, "operations"), cb=list_)
        await flush(bus.nc)
        seen = [recording(role.executor) for role in workers]
        bulk = uuid4()
        told = [
            outcome(await caller.ask(FLEET, "cancel_operations", {"kind": "provisioning"}, bulk))
            for _ in range(2)
        ]

        decided = [[each.tenant_id for each in requests] for requests in seen]
        for tenant in runs:
            assert [each.count(tenant) for each in decided][_owner(workers, tenant)] == 2
        assert len(decided[0]) + len(decided[1]) == 2 * len(runs)
        ids = {each.command_id for requests in seen for each in requests}
        assert len(ids) == len(runs)  # the second time they are the same: the ledger answers
        assert [each["status"] for each in told[0]["result"]["items"]] == ["completed"] * len(runs)
        assert told[0] == told[1]
        for tenant in runs:
            cancelled = await store.read_tenant(tenant, 0, None, 1000, ["operation.compensation_started"])
            assert len(cancelled) == 1


async def test_a_forwarded_command_gets_the_same_bytes(
    nats_url: str, role: CommandsRole, bus: Bus, store: EventStore, migrated: str
) -> None:
    await until(shares(migrated, 9))
    caller = Caller(bus)
    tenant, command_id = uuid4(), uuid4()
    body = provisioning(tenant)
    direct = await caller.ask(tenant, "provision", body, command_id, Actor="ada", Correlation_Id="a b")
    async with door_on(nats_url, store, bus) as door:
        again = await door.execute(request(tenant, "provision", body, command_id=command_id))
        refused = await door.execute(
            request(tenant, "update_profile", {"name": "Apex"}, Expected_Version="77")
        )
        told = await caller.ask(tenant, "update_profile", {"name": "Apex"}, Expected_Version="77")
        assert door.here == []

    assert (again.body, again.problem) == (direct.data, None)
    assert str(again.operation_id) == outcome(direct)["operation_id"]
    theirs, ours = outcome(told)["error"], json.loads(refused.body)["error"]
    assert (ours, refused.problem) == (theirs, problem(told))


async def test_what_came_with_a_command_goes_on_into_its_events(
    nats_url: str, role: CommandsRole, bus: Bus, store: EventStore, migrated: str
) -> None:
    await until(shares(migrated, 9))
    tenant = uuid4()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    said: dict[str, Any] = {
        "Actor": "ada",
        "Correlation_Id": "corr",
        "Causation_Id": "cause",
        "traceparent": trace,
    }
    async with door_on(nats_url, store, bus) as door:
        await door.execute(request(tenant, "provision", provisioning(tenant), **said))
        assert door.here == []

    [fact, *_] = await store.read_tenant(tenant, 0, None, 10)
    meta = json.loads(fact.state)["meta"]
    assert meta == {"actor": "ada", "correlation_id": "corr", "causation_id": "cause", "traceparent": trace}


async def test_an_owner_that_is_gone_costs_nobody_a_command(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with door_on(nats_url, store, bus, owner=uuid4()) as door:
        tenant = uuid4()
        replies = [
            await door.execute(request(tenant, "provision", provisioning(tenant))),
            await door.execute(request(tenant, "resume")),
        ]
        assert [reply.problem for reply in replies] == [None, "operation-in-progress"]
        assert len(door.here) == 2


async def test_a_command_that_a_killed_owner_had_is_decided_once(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with Worker(nats_url, migrated, bus) as worker:
        caller = Caller(bus)
        [tenant] = await active_tenants(store, caller)
        await until(shares(migrated, 9))
        async with door_on(nats_url, store, bus, silence=3600.0, patience=3600.0) as door:
            # It holds the command, unread, when it is killed.
            worker.send(signal.SIGSTOP)
            asked = asyncio.create_task(door.execute(rename(tenant, "Apex")))
            await flush(door.nc)
            assert door.here == []
            await worker.kill()

            assert (await asked).problem is None
            assert len(door.here) == 1
            assert (door.forwarded("owner"), door.forwarded("sender")) == (0, 1)
    assert await names_given(store, tenant) == ["Apex"]


async def test_a_command_that_a_hanging_owner_had_is_decided_once_when_it_wakes_up_too(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with Worker(nats_url, migrated, bus) as worker:
        [tenant] = await active_tenants(store, Caller(bus))
        await until(shares(migrated, 9))
        async with door_on(nats_url, store, bus, silence=0.2, patience=3600.0) as door:
            worker.send(signal.SIGSTOP)
            reply = await door.execute(rename(tenant, "Apex"))
            worker.send(signal.SIGCONT)
            assert reply.problem is None
            assert len(door.here) == 1

            async def back() -> bool:
                former = len(door.here)
                await door.execute(rename(tenant, "Acme"))
                return len(door.here) == former

            await until(back)  # what it is sent from now on comes behind the first
    assert (await names_given(store, tenant))[0] == "Apex"
    assert (await names_given(store, tenant)).count("Apex") == 1


async def test_a_lost_reply_is_found_out_and_nothing_is_done_twice(
    nats_url: str, bus: Bus, store: EventStore, executor: Executor
) -> None:
    owner = uuid4()
    mute = Receiver(lambda: bus.nc, executor, _Mute(), bus.subjects, owner)
    await mute.start()
    try:
        async with door_on(nats_url, store, bus, owner=owner, patience=0.3) as door:
            tenant = uuid4()
            reply = await door.execute(request(tenant, "provision", provisioning(tenant)))
            assert reply.problem is None
            assert len(door.here) == 1
    finally:
        await mute.stop()
    events = await store.read_tenant(tenant, 0, None, 100)
    assert [event.topic for event in events].count("tenant.provisioning_started") == 1


async def test_no_answer_says_that_nothing_was_done_where_that_is_not_known(
    nats_url: str, bus: Bus, store: EventStore, executor: Executor
) -> None:
    """The owner may have written it; the door's own executor, which is too busy, does not know."""
    owner = uuid4()
    mute = Receiver(lambda: bus.nc, executor, _Mute(), bus.subjects, owner)
    await mute.start()
    try:
        async with door_on(nats_url, store, bus, owner=owner, patience=0.3, busy=1) as door:
            tenant = uuid4()
            reply = await door.execute(request(tenant, "provision", provisioning(tenant)))
            assert reply.problem is None
            assert len(door.here) == 2
    finally:
        await mute.stop()


class _Mute(Replies):
    """Replies that are lost on their way."""

    def __init__(self) -> None: ...

    def send(self, inbox: str, reply: Reply) -> None: ...


async def test_two_workers_that_take_each_other_for_the_owner_do_not_send_a_command_round(
    nats_url: str, bus: Bus, store: EventStore
) -> None:
    one, other = uuid4(), uuid4()
    executors = [executor_on(store), executor_on(store)]
    replies = [Replies(lambda: bus.nc), Replies(lambda: bus.nc)]
    receivers = [
        Receiver(lambda: bus.nc, executor, reply, bus.subjects, me)
        for executor, reply, me in zip(executors, replies, (one, other), strict=True)
    ]
    for each in (*executors, *replies, *receivers):
        await each.start()
    async with (
        door_on(nats_url, store, bus, me=one, owner=other) as first,
        door_on(nats_url, store, bus, me=other, owner=one) as second,
    ):
        seen = [recording(executor) for executor in executors]
        tenant = uuid4()
        replied = [
            await first.execute(request(tenant, "provision", provisioning(tenant))),
            await second.execute(request(tenant, "resume")),
        ]
        assert [reply.problem for reply in replied] == [None, "operation-in-progress"]
        assert [len(requests) for requests in (*seen, first.here, second.here)] == [1, 1, 0, 0]
    for each in (*receivers, *executors, *replies):
        await each.stop()


async def test_a_command_that_the_owner_does_not_know_yet_is_decided_at_its_door(
    nats_url: str, bus: Bus, store: EventStore, executor: Executor
) -> None:
    owner = uuid4()
    older = Receiver(lambda: bus.nc, executor, Replies(lambda: bus.nc), bus.subjects, owner)
    await older.start()
    try:
        answer = await bus.nc.request(bus.subjects.worker(owner), b"of another version", timeout=PATIENCE)
        assert answer.headers is not None
        not_taken = answer.headers
    finally:
        await older.stop()

    async def newer(message: Msg) -> None:
        await bus.nc.publish(message.reply, headers=not_taken)

    await bus.nc.subscribe(bus.subjects.worker(owner), cb=newer)
    await flush(bus.nc)
    async with door_on(nats_url, store, bus, owner=owner) as door:
        assert (await door.execute(request(uuid4(), "resume"))).problem == "tenant-not-found"
        assert len(door.here) == 1


async def test_workers_reply_to_inboxes_only(
    role: CommandsRole, bus: Bus, store: EventStore, migrated: str
) -> None:
    await until(shares(migrated, 9))
    [owner] = {owner for _, owner in (await progress(migrated)).values()}
    assert owner is not None
    forged = f"{bus.subjects.prefix}.forged"
    heard = await bus.nc.subscribe(forged)
    seen = recording(role.executor)

    for body in (b"", b"of another version"):
        await bus.nc.publish(bus.subjects.worker(owner), body, reply=forged)
    assert (await bus.nc.request(bus.subjects.worker(owner), b"", timeout=PATIENCE)).data == b""

    assert heard.pending_msgs == 0
    assert seen == []


async def test_commands_go_on_while_partitions_change_hands(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with role_on(nats_url, migrated, bus, tick=0.05), door_on(nats_url, store, bus) as door:
        [tenant] = await active_tenants(store, Caller(bus))
        names: list[str] = []
        stop = asyncio.Event()

        async def rename_on() -> None:
            while not stop.is_set():
                names.append(f"Acme {len(names)}")
                assert (await door.execute(rename(tenant, names[-1]))).problem is None

        renaming = asyncio.create_task(rename_on())
        for _ in range(3):
            async with role_on(nats_url, migrated, bus, tick=0.05):
                await until(shares(migrated, 4, 5))
            await until(shares(migrated, 9))
        stop.set()
        await soon(renaming)
    assert await names_given(store, tenant) == names


async def test_a_server_that_sorts_commands_gives_them_to_their_owners_and_to_the_others_without_them(
    warm_dir: Path,
) -> None:
    async with EmbeddedStack(warm_dir, partitions=LIMITS.partitions) as stack:
        await _sorted_for_their_owners(stack.endpoints)


async def _sorted_for_their_owners(at: Endpoints) -> None:
    nc = await connect(at.nats_url)
    bus = Bus(nc, Subjects(), Streams())
    await migrate(at.postgres_url, partitions=LIMITS.partitions)
    await declare(nc, bus.subjects, bus.streams, LIMITS)
    caller = Caller(bus)
    sorted_, forwarded = (
        await nc.subscribe("tenants.rpc_partitions.>"),
        await nc.subscribe("tenants.workers.>"),
    )
    async with (
        EventStore(at.postgres_url) as store,
        Worker(at.nats_url, at.postgres_url, bus) as worker,
        role_on(at.nats_url, at.postgres_url, bus, tick=0.05),
    ):
        await until(shares(at.postgres_url, 4, 5))
        tenants = await active_tenants(store, caller, 12)
        partition = (await sorted_.next_msg()).subject.split(".")[2:4]
        assert partition[0] == str(partition_of(partition[1], LIMITS.partitions))

        async def preferred() -> bool:
            """Say whether most commands take no detour; by chance alone half of them would."""
            former = forwarded.delivered + forwarded.pending_msgs
            for tenant in tenants * 8:
                await caller.ask(tenant, "resume")
            return forwarded.delivered + forwarded.pending_msgs - former < 24

        await until(preferred)
        asking = [
            asyncio.create_task(caller.ask(tenant, "update_profile", {"name": f"Apex {number}"}))
            for tenant in tenants
            for number in range(20)
        ]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        await worker.kill()
        # Nobody is never who answers, whoever is away; what the killed one had read is for its caller
        # to repeat.
        replies = [
            await _repeated(caller, tenant, "update_profile", {"name": "Zenith"}) for tenant in tenants
        ]
        assert [problem(reply) for reply in replies] == [None] * len(tenants)
        for each in asking:
            each.cancel()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert not [each for each in done if isinstance(each, nats.errors.NoRespondersError)]
        assert problem(await nc.request("tenants.rpc.lonely", b"", timeout=PATIENCE)) == "invalid-command"
    await nc.close()


async def _repeated(caller: Caller, tenant: UUID, command: str, body: dict[str, Any]) -> Msg:
    """Send a command until it is answered, as whoever gets no answer does."""
    command_id = uuid4()
    async with within("a reply to the repeated command"):
        while True:
            with contextlib.suppress(nats.errors.TimeoutError):
                return await caller.ask(tenant, command, body, command_id, timeout=1)
