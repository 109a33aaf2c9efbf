"""Two versions at once: what a worker does not know, and a newer one does, is left to that one."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

from handlers.bus.commands import CommandsRole
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from tenant_domain.tenant.decide import ref as tenant_ref
from tests.handlers.bus.commands.service import Caller, active_tenants, dead_letters, problem, progress
from tests.support.bus import Bus, messages_of
from tests.support.waiting import soon, until, within

_NEWER = """
INSERT INTO service.registries (fingerprint, commands, facts, seen_at)
VALUES ('newer', '{brand_new,update_profile.nickname}', '{tenant.brand_new@1}',
    clock_timestamp() + interval '1 hour' * %s)
ON CONFLICT (fingerprint) DO UPDATE SET seen_at = excluded.seen_at"""


async def newer(store: EventStore, *, alive: bool) -> None:
    """Say what a newer version knows, of which a worker runs, or none any more."""
    async with store.transaction() as transaction:
        await transaction.connection.execute(_NEWER, (1 if alive else -1,))


def held_by_nobody(url: str) -> Callable[[], Awaitable[bool]]:
    async def held() -> bool:
        return {owner for _, owner in (await progress(url)).values()} == {None}

    return held


async def told_of_a_fact(store: EventStore, tenant: UUID) -> None:
    """Have a newer version write a fact of this tenant that nobody here knows."""
    [loaded] = (await store.load([tenant_ref(tenant)])).values()
    event = EventRow(
        tenant, tenant, loaded.version + 1, "tenant.brand_new", b'{"v":1,"data":{},"meta":{}}', 0
    )
    assert not (await store.append(Batch(events=[event]))).dropped


async def test_a_command_that_a_newer_worker_knows_is_left_to_it(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer(store, alive=True)
    before = await caller.put(tenant, "update_profile", {"name": "Before"})
    unknown = await caller.put(tenant, "brand_new")
    behind = await caller.put(tenant, "update_profile", {"name": "Behind"})

    assert problem(await soon(before)) is None
    await until(held_by_nobody(migrated))
    assert (unknown.done(), behind.done()) == (False, False)
    assert await dead_letters(migrated) == []
    assert max(sequence for sequence, _ in (await progress(migrated)).values()) == 1

    await newer(store, alive=False)
    assert problem(await soon(unknown)) == "unknown-command"
    assert problem(await soon(behind)) is None


async def test_a_command_with_a_field_that_a_newer_worker_knows_is_left_to_it(
    role: CommandsRole, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer(store, alive=True)
    mistaken = await caller.put(tenant, "update_profile", {"name": "Acme", "nickname_": "A"})
    assert problem(await soon(mistaken)) == "invalid-command"

    waiting = await caller.put(tenant, "update_profile", {"name": "Acme", "nickname": "A"})
    await until(held_by_nobody(migrated))
    assert not waiting.done()
    assert len(await dead_letters(migrated)) == 1

    await newer(store, alive=False)
    assert problem(await soon(waiting)) == "invalid-command"


async def test_a_command_that_no_version_knows_is_refused(
    role: CommandsRole, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer(store, alive=True)
    assert problem(await soon(await caller.put(tenant, "no_such"))) == "unknown-command"
    assert len(await dead_letters(migrated)) == 1
    assert not await held_by_nobody(migrated)()


async def test_a_tenant_with_a_newer_fact_is_left_to_the_worker_that_knows_it(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer(store, alive=True)
    await told_of_a_fact(store, tenant)
    waiting = await caller.put(tenant, "suspend", {"reason": "r"})

    await until(held_by_nobody(migrated))
    assert not waiting.done()
    assert await dead_letters(migrated) == []
    assert len(await messages_of(bus.nc, bus.streams.commands)) == 1


async def test_without_such_a_worker_its_partition_waits_and_the_others_go_on(
    role: CommandsRole, caller: Caller, store: EventStore, migrated: str
) -> None:
    tenants = await active_tenants(store, caller, 12)
    await newer(store, alive=False)
    await told_of_a_fact(store, tenants[0])
    waiting = await caller.put(tenants[0], "suspend", {"reason": "r"})

    others = [await caller.put(each, "suspend", {"reason": "r"}) for each in tenants[1:]]
    async with within("the first of the other commands"):
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(1)  # ten times as long as all tries of a command that fails

    assert not waiting.done()
    assert await dead_letters(migrated) == []


async def test_a_fact_that_no_version_knows_is_a_technical_failure(
    role: CommandsRole, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await told_of_a_fact(store, tenant)
    found = await soon(await caller.put(tenant, "suspend", {"reason": "r"}, uuid4()))
    assert problem(found) == "unavailable"
    assert [letter[3] for letter in await dead_letters(migrated)] == ["failed"]
