"""Several workers share the partitions, and take over from each other in order."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from handlers.bus.commands import CommandsRole
from handlers.store.event_store import EventStore
from tests.handlers.bus.commands.service import (
    Caller,
    active_tenants,
    dead_letters,
    numbers,
    outcome,
    progress,
    role_on,
)
from tests.handlers.bus.commands.worker import Worker
from tests.support.bus import Bus
from tests.support.waiting import until


def shares(postgres_url: str, *expected: int) -> Callable[[], Awaitable[bool]]:
    """Return the condition that the partitions are shared like that."""

    async def shared() -> bool:
        owners = [owner for _, owner in (await progress(postgres_url)).values() if owner is not None]
        return sorted(owners.count(owner) for owner in set(owners)) == sorted(expected)

    return shared


async def test_partitions_are_shared_fairly_as_workers_come_and_go(
    nats_url: str, migrated: str, bus: Bus
) -> None:
    quick = {"tick": 0.05}
    async with role_on(nats_url, migrated, bus, **quick) as first:
        await until(shares(migrated, 9))
        async with role_on(nats_url, migrated, bus, **quick):
            await until(shares(migrated, 4, 5))
            async with role_on(nats_url, migrated, bus, **quick):
                await until(shares(migrated, 3, 3, 3))
            await until(shares(migrated, 4, 5))
        await until(shares(migrated, 9))

        async def read() -> bool:
            return len(first.durable.partitions) == 9

        await until(read)
    assert {owner for _, owner in (await progress(migrated)).values()} == {None}


def flood(tenants: list[UUID], first: int, last: int) -> list[tuple[UUID, str, dict[str, Any]]]:
    """Return numbered commands of many tenants, which must be decided in that order."""
    return [
        (tenant, "update_profile", {"settings": {"number": number}})
        for number in range(first, last)
        for tenant in tenants
    ]


async def test_each_partition_has_one_owner_and_what_belongs_to_none_is_not_among_them(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    async with role_on(nats_url, migrated, bus, tick=0.05), role_on(nats_url, migrated, bus, tick=0.05):
        await until(shares(migrated, 4, 5))
        held = await progress(migrated)
        assert await store.partition_owners.read() == [held[number][1] for number in range(8)]


async def test_nothing_is_lost_doubled_or_reordered_when_a_worker_is_killed(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    caller = Caller(bus)
    async with Worker(nats_url, migrated, bus) as one, Worker(nats_url, migrated, bus):
        tenants = await active_tenants(store, caller, 6)
        await until(shares(migrated, 4, 5))
        start = await store.head()
        pouring = asyncio.create_task(caller.pour(flood(tenants, 0, 500)))

        async def under_way() -> bool:
            return await store.head() > start + 600

        await until(under_way)
        await one.kill()
        async with Worker(nats_url, migrated, bus) as third:
            await pouring
            await until(lambda: _at_least(store, start + 1500))
            third.send(signal.SIGTERM)
            await caller.pour(flood(tenants, 500, 700))

            await until(lambda: _at_least(store, start + 700 * 6))

    for tenant in tenants:
        assert await numbers(store, tenant) == list(range(700))
    assert await store.head() == start + 700 * 6
    assert await dead_letters(migrated) == []


async def _at_least(store: EventStore, head: int) -> bool:
    return await store.head() >= head


async def test_a_worker_that_hangs_loses_its_partitions_and_can_do_no_harm_when_it_wakes_up(
    nats_url: str, migrated: str, bus: Bus, store: EventStore
) -> None:
    caller = Caller(bus)
    async with Worker(nats_url, migrated, bus) as sleeper:
        tenants = await active_tenants(store, caller, 6)
        start = await store.head()
        pouring = asyncio.create_task(caller.pour(flood(tenants, 0, 400)))
        await until(lambda: _at_least(store, start + 100))
        sleeper.send(signal.SIGSTOP)

        async with Worker(nats_url, migrated, bus):
            await pouring
            await until(lambda: _at_least(store, start + 400 * 6))
            sleeper.send(signal.SIGCONT)
            await until(shares(migrated, 4, 5))
            await caller.pour(flood(tenants, 400, 500))
            await until(lambda: _at_least(store, start + 500 * 6))

    for tenant in tenants:
        assert await numbers(store, tenant) == list(range(500))


async def test_a_worker_that_stops_hands_over_at_once(
    nats_url: str, migrated: str, bus: Bus, store: EventStore, caller: Caller, role: CommandsRole
) -> None:
    [tenant] = await active_tenants(store, caller)
    # so slow that nothing but the hand-over can explain that the other one goes on
    async with role_on(nats_url, migrated, bus, lease=600, tick=600):
        await until(shares(migrated, 4, 5))
        await role.stop()
        await until(shares(migrated, 9))
        reply = await (await caller.put(tenant, "update_profile", {"settings": {"number": 1}}))
        assert outcome(reply)["status"] == "completed"
