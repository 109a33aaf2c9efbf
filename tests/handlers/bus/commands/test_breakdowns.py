"""What becomes of durable commands when the database, the bus, the stream or a command's code breaks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from structlog.testing import capture_logs

from deploy.embedded import EmbeddedStack
from handlers.adapters import jetstream
from handlers.bus.commands import CommandsRole
from handlers.bus.intake.feed import Feed, FeedLost
from handlers.bus.intake.upkeep import FORGET
from handlers.bus.streams import declare
from handlers.execution import attempt
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from tenant_domain.registry import COMMANDS
from tests.handlers.bus.commands.conftest import LIMITS
from tests.handlers.bus.commands.service import (
    Caller,
    active_tenants,
    connect,
    dead_letters,
    numbers,
    outcome,
    problem,
    progress,
    role_on,
)
from tests.support.bus import Bus, messages_of, own_names
from tests.support.proxy import Proxy
from tests.support.waiting import soon, until

PERSON = "ada@example.com"

HURRIED = {"pool_timeout": 0.5, "unavailable_after": 1.0}
"""Times of a role whose database is away: more than a database needs that is there, on a busy machine."""


@pytest.fixture
async def proxy(migrated: str) -> AsyncIterator[Proxy]:
    async with Proxy(migrated) as between:
        yield between


def numbered(number: int) -> dict[str, Any]:
    return {"settings": {"number": number}}


async def sent(caller: Caller, tenant: UUID, first: int, last: int) -> list[asyncio.Future[Any]]:
    return [await caller.put(tenant, "update_profile", numbered(number)) for number in range(first, last)]


async def test_durable_commands_wait_for_the_database(
    nats_url: str, proxy: Proxy, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    async with role_on(nats_url, proxy.url, bus, **HURRIED):
        [tenant] = await active_tenants(store, caller)
        before = await sent(caller, tenant, 0, 5)
        await asyncio.gather(*before)
        await proxy.down()
        meanwhile = await sent(caller, tenant, 5, 30)

        assert problem(await caller.ask(tenant, "resume")) == "unavailable"
        assert not any(each.done() for each in meanwhile)

        await proxy.up()
        await asyncio.gather(*meanwhile)
        assert await numbers(store, tenant) == list(range(30))
    assert await dead_letters(migrated) == []


async def test_a_worker_starts_without_a_database_and_takes_what_waits_when_it_comes(
    nats_url: str, proxy: Proxy, bus: Bus, caller: Caller, store: EventStore
) -> None:
    await proxy.down()
    async with role_on(nats_url, proxy.url, bus, **HURRIED):
        waiting = await caller.put(uuid4(), "resume")
        await proxy.up()
        assert problem(await waiting) == "tenant-not-found"


async def test_a_durable_commit_whose_answer_was_lost_is_answered_by_the_ledger(
    nats_url: str, proxy: Proxy, bus: Bus, caller: Caller, store: EventStore
) -> None:
    async with role_on(nats_url, proxy.url, bus):
        [tenant] = await active_tenants(store, caller)
        await asyncio.gather(*await sent(caller, tenant, 0, 3))
        command_id = uuid4()
        proxy.lose_answer(command_id.bytes)

        lost = await caller.put(tenant, "update_profile", numbered(3), command_id)
        after = await sent(caller, tenant, 4, 20)

        assert outcome(await lost)["status"] == "completed"
        assert proxy.lost.is_set()
        await asyncio.gather(*after)
        assert await numbers(store, tenant) == list(range(20))


@pytest.fixture
def trapped(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Make the decision on a number fail so many times."""
    failing: dict[int, int] = {}
    spec = COMMANDS["update_profile"]

    def decide(command: Any, world: Any, context: Any) -> Any:
        number = command.settings["number"]
        if failing.get(number, 0) > 0:
            failing[number] -= 1
            raise ZeroDivisionError(f"a defect that names {PERSON}")
        return spec.decide(command, world, context)

    table = {**COMMANDS, "update_profile": spec._replace(decide=decide)}
    monkeypatch.setattr(attempt, "COMMANDS", table)
    return failing


async def test_a_command_that_failed_for_a_while_keeps_its_place(
    role: CommandsRole, caller: Caller, store: EventStore, trapped: dict[int, int], migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    trapped[5] = 3
    replies = await asyncio.gather(*await sent(caller, tenant, 0, 20))
    assert [problem(reply) for reply in replies] == [None] * 20
    assert await numbers(store, tenant) == list(range(20))
    assert await dead_letters(migrated) == []


async def test_a_command_that_always_fails_is_a_dead_letter_and_the_others_go_on(
    role: CommandsRole, caller: Caller, store: EventStore, trapped: dict[int, int], migrated: str
) -> None:
    tenants = await active_tenants(store, caller, 12)  # more than partitions: some share the poisoned one's
    trapped[5] = 1000
    with capture_logs() as logs:
        outcomes = [each for tenant in tenants for each in await sent(caller, tenant, 0, 10)]
        replies = await asyncio.gather(*outcomes)

    assert [problem(reply) for reply in replies] == [*[None] * 5, "unavailable", *[None] * 4] * 12
    for tenant in tenants:
        assert await numbers(store, tenant) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    letters = await dead_letters(migrated)
    assert sorted(letter[0] for letter in letters) == sorted(map(str, tenants))
    assert {letter[3] for letter in letters} == {"failed"}
    assert all("ZeroDivisionError" in letter[7] for letter in letters)
    assert trapped[5] == 1000 - 5 * 12
    assert PERSON not in repr(logs)


async def test_progress_passes_what_was_refused_and_what_was_deleted(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await asyncio.gather(*await sent(caller, tenant, 0, 2))
    await role.durable.stop()
    refused = await caller.put(tenant, "suspend", b"{")
    purged = await sent(caller, tenant, 2, 5)
    last = await sent(caller, tenant, 5, 6)
    for sequence in (4, 5, 6):
        await jetstream.call(bus.nc, f"STREAM.MSG.DELETE.{bus.streams.commands}", {"seq": sequence})
    await role.durable.start()

    assert problem(await refused) == "invalid-command"
    await last[0]

    assert await numbers(store, tenant) == [0, 1, 5]
    assert max(sequence for sequence, _ in (await progress(migrated)).values()) == 7
    assert not any(each.done() for each in purged)


async def test_what_is_decided_everywhere_is_purged(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, trapped: dict[int, int]
) -> None:
    tenants = await active_tenants(store, caller, 12)
    await asyncio.gather(*[each for tenant in tenants for each in await sent(caller, tenant, 0, 3)])
    await role.durable.stop()
    waiting = await sent(caller, tenants[0], 3, 4)
    await role.durable.start()
    trapped[4] = 1
    await waiting[0]

    await role.upkeep.clean()

    assert await messages_of(bus.nc, bus.streams.commands) == []
    await role.durable.stop()
    await sent(caller, tenants[0], 5, 8)
    await role.upkeep.clean()
    assert [message.sequence for message in await messages_of(bus.nc, bus.streams.commands)] == [38, 39, 40]


async def test_nothing_is_purged_that_one_partition_has_before_it(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    tenants = await active_tenants(store, caller, 4)
    await asyncio.gather(*[each for tenant in tenants for each in await sent(caller, tenant, 0, 5)])
    await role.durable.stop()
    before = await messages_of(bus.nc, bus.streams.commands)
    lagging = before[-1].subject.split(".")[2]  # its partition stands at its third, all others are through
    _, _, third, *waiting = [each.sequence for each in before if each.subject.split(".")[2] == lagging]
    async with await psycopg.AsyncConnection.connect(migrated) as connection:
        await connection.execute(
            "UPDATE service.command_progress SET sequence = %s WHERE sequence ="
            " (SELECT max(sequence) FROM service.command_progress)",
            (third,),
        )

    await role.upkeep.clean()

    left = await messages_of(bus.nc, bus.streams.commands)
    assert [each.sequence for each in left] == list(range(waiting[0], 21))
    await role.durable.start()


async def test_old_outcomes_are_forgotten(
    nats_url: str, migrated: str, bus: Bus, caller: Caller, store: EventStore
) -> None:
    async with role_on(nats_url, migrated, bus, retention=3600) as role:
        old, young = uuid4(), uuid4()
        tenant = uuid4()
        await caller.ask(tenant, "resume", b"", old)
        await caller.ask(tenant, "resume", b"", young)
        long_ago = datetime.now(UTC) - timedelta(hours=2)
        async with await psycopg.AsyncConnection.connect(migrated) as connection:
            await connection.execute(
                "UPDATE service.command_ledger SET decided_at = %s WHERE command_id = %s", (long_ago, old)
            )
        keys = [(tenant, old), (tenant, young)]

        await role.upkeep.clean()
        assert list(await store.recorded(keys)) == [(tenant, young)]


async def test_to_forget_costs_no_more_behind_much_that_was_forgotten(migrated: str) -> None:
    """A chunk reads its own rows, and not those that were deleted before it."""
    old = datetime(2026, 1, 1, tzinfo=UTC)
    after, read = old, list[int]()
    async with await psycopg.AsyncConnection.connect(migrated, autocommit=True) as connection:
        await connection.execute("ALTER TABLE service.command_ledger SET (autovacuum_enabled = off)")
        await connection.execute(
            "INSERT INTO service.command_ledger SELECT gen_random_uuid(), gen_random_uuid(), 'h', %s, n,"
            " %s + n * interval '1 ms' FROM generate_series(1, 40000) n",
            (b"o" * 200, old),
        )
        await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        for _ in range(20):
            values = (after, old + timedelta(days=1), 2000)
            explained = await connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {FORGET}", values)
            [[[plan]]] = await explained.fetchall()
            read.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
            after += timedelta(milliseconds=2000)
        left = await connection.execute("SELECT count(*) FROM service.command_ledger")
        assert await left.fetchone() == (0,)
    assert max(read[1:]) < 1.5 * min(read[1:])


async def test_no_outcome_is_forgotten_that_an_undecided_command_may_ask_for(
    nats_url: str, migrated: str, bus: Bus, caller: Caller, store: EventStore
) -> None:
    async with role_on(nats_url, migrated, bus, retention=0) as role:
        tenant, command_id = uuid4(), uuid4()
        await role.durable.stop()
        waiting = await caller.put(tenant, "resume", b"", command_id)
        first = await caller.ask(tenant, "resume", b"", command_id)

        await role.upkeep.clean()
        assert list(await store.recorded([(tenant, command_id)])) == [(tenant, command_id)]
        await role.durable.start()

        assert (await waiting).data == first.data
        await role.upkeep.clean()  # takes the command from the stream, so the next one may forget it
        await role.upkeep.clean()
        assert await store.recorded([(tenant, command_id)]) == {}


async def test_a_message_that_is_lost_on_the_way_is_noticed_with_the_next_one(
    bus: Bus, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, came = uuid4(), count(1)
    nc: Any = bus.nc  # of whose types one is not known
    subscribe: Callable[..., Awaitable[Subscription]] = nc.subscribe
    for _ in range(3):
        await caller.put(tenant, "resume")
    [own, *_] = bus.subjects.partitioned(tenant)

    async def leaking(inbox: str, *, cb: Callable[[Msg], Awaitable[None]], **more: Any) -> Subscription:
        async def passed_on(message: Msg) -> None:
            if not message.reply or next(came) != 2:
                await cb(message)

        return await subscribe(inbox, cb=passed_on, **more)

    monkeypatch.setattr(bus.nc, "subscribe", leaking)
    feed = Feed(bus.nc, bus.streams.commands, own, window=10, max_bytes=1024 * 1024)
    await feed.open(0)
    taken: list[int] = []

    async def read() -> None:
        while True:
            await feed.ready()
            taken.extend([each.sequence for each in await feed.take(10)])

    with pytest.raises(FeedLost, match="lost on the way"):
        await soon(read())
    await feed.close()
    assert taken == [1]


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    [tenant] = await active_tenants(store, caller)
    await asyncio.gather(*await sent(caller, tenant, 0, 20))
    with capture_logs() as logs:
        await jetstream.call(bus.nc, f"STREAM.DELETE.{bus.streams.commands}")
        await declare(bus.nc, bus.subjects, bus.streams, LIMITS)

        await asyncio.gather(*await sent(caller, tenant, 20, 30))

    assert await numbers(store, tenant) == list(range(30))
    assert any(line["log_level"] == "error" and "stream was made anew" in line["event"] for line in logs)


async def test_a_stream_that_was_put_back_is_read_again_and_the_ledger_knows_what_was_decided(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await asyncio.gather(*await sent(caller, tenant, 0, 3))
    await role.durable.stop()
    async with await psycopg.AsyncConnection.connect(migrated) as connection:
        await connection.execute("UPDATE service.command_progress SET sequence = sequence + 1000")

    with capture_logs() as logs:
        await role.durable.start()
        await asyncio.gather(*await sent(caller, tenant, 3, 6))

    assert await numbers(store, tenant) == list(range(6))
    assert any(line["log_level"] == "error" and "put back" in line["event"] for line in logs)


@pytest.mark.parametrize("data", ["kept", "lost"])
async def test_commands_go_on_when_the_bus_was_away(
    own_stack: EmbeddedStack, restarts: asyncio.Queue[str], data: str
) -> None:
    nats_url, postgres_url = own_stack.endpoints.nats_url, own_stack.endpoints.postgres_url
    await migrate(postgres_url, partitions=8)
    nc = await connect(nats_url)
    bus = Bus(nc, *own_names())
    await declare(nc, bus.subjects, bus.streams, LIMITS)
    caller = Caller(bus)
    await caller.listen()
    async with EventStore(postgres_url) as store, role_on(nats_url, postgres_url, bus, tick=0.05):
        [tenant] = await active_tenants(store, caller)
        await asyncio.gather(*await sent(caller, tenant, 0, 10))
        if data == "lost":
            await jetstream.call(nc, f"STREAM.DELETE.{bus.streams.commands}")
        await own_stack.kill("nats")
        assert await restarts.get() == "nats"
        await until(lambda: connected(nc))
        await declare(nc, bus.subjects, bus.streams, LIMITS)

        await asyncio.gather(*await sent(caller, tenant, 10, 20))

        assert await numbers(store, tenant) == list(range(20))
        assert problem(await caller.ask(tenant, "suspend", {"reason": "r"})) is None
    await nc.close()


async def connected(nc: Any) -> bool:
    return nc.is_connected
