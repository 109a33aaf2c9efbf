"""Two versions at once: what a worker does not know, and a newer one does, is left to that one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from handlers.adapters.tasks import end
from handlers.bus.commands import CommandsRole
from handlers.execution import versions
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from tenant_domain.tenant.decide import ref as tenant_ref
from tests.handlers.bus.commands.service import (
    Caller,
    active_tenants,
    dead_letters,
    outcome,
    problem,
    progress,
)
from tests.support.bus import Bus, messages_of
from tests.support.waiting import soon, until, within

_NEWER = """
INSERT INTO service.registries (fingerprint, commands, facts, seen_at)
VALUES ('newer', '{brand_new,update_profile.nickname}', '{tenant.brand_new@1}', clock_timestamp() + %s)
ON CONFLICT (fingerprint) DO UPDATE SET seen_at = excluded.seen_at"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "INTERVAL", 0.1)
    monkeypatch.setattr(versions, "SILENCE", 2.0)


class Newer:
    """A newer version: what it knows stands in the database, and is said again while a worker of it lives."""

    def __init__(self, store: EventStore, ahead: timedelta) -> None:
        self._store, self._ahead = store, ahead
        self._life: asyncio.Task[None] | None = None

    async def said(self) -> None:
        """Say once what it knows, by a clock that is ahead."""
        async with self._store.transaction() as transaction:
            await transaction.connection.execute(_NEWER, (self._ahead,))

    async def lives(self) -> None:
        """Begin to live."""
        await self.said()
        self._life = asyncio.create_task(self._live())

    async def dies(self) -> None:
        """Say it no more."""
        if self._life is not None:
            await end(self._life)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            await self.said()


@pytest.fixture
async def newer(request: pytest.FixtureRequest, store: EventStore) -> AsyncIterator[Newer]:
    """A newer version, of which no worker lives yet."""
    version = Newer(store, getattr(request, "param", timedelta()))
    yield version
    await version.dies()


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


@pytest.mark.parametrize(
    "newer",
    [timedelta(), timedelta(hours=1), timedelta(hours=-1)],
    ids=["a clock that is right", "one that is ahead", "one that is behind"],
    indirect=True,
)
async def test_a_command_that_a_newer_worker_knows_is_left_to_it(
    role: CommandsRole, newer: Newer, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer.lives()
    before = await caller.put(tenant, "update_profile", {"name": "Before"})
    unknown = await caller.put(tenant, "brand_new")
    behind = await caller.put(tenant, "update_profile", {"name": "Behind"})

    assert problem(await soon(before)) is None
    await until(held_by_nobody(migrated))
    assert (unknown.done(), behind.done()) == (False, False)
    assert await dead_letters(migrated) == []
    assert max(sequence for sequence, _ in (await progress(migrated)).values()) == 1

    await newer.dies()
    assert problem(await soon(unknown)) == "unknown-command"
    assert problem(await soon(behind)) is None


async def test_a_command_with_a_field_that_a_newer_worker_knows_is_left_to_it(
    role: CommandsRole, newer: Newer, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer.lives()
    mistaken = await caller.put(tenant, "update_profile", {"name": "Acme", "nickname_": "A"})
    assert problem(await soon(mistaken)) == "invalid-command"

    waiting = await caller.put(tenant, "update_profile", {"name": "Acme", "nickname": "A"})
    await until(held_by_nobody(migrated))
    assert not waiting.done()
    assert len(await dead_letters(migrated)) == 1

    await newer.dies()
    assert problem(await soon(waiting)) == "invalid-command"


async def test_a_command_that_no_version_knows_is_refused(
    role: CommandsRole, newer: Newer, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer.lives()
    assert problem(await soon(await caller.put(tenant, "no_such"))) == "unknown-command"
    assert len(await dead_letters(migrated)) == 1
    assert not await held_by_nobody(migrated)()


async def test_a_process_that_takes_nothing_over_says_nothing_of_its_version(
    store: EventStore, migrated: str
) -> None:
    looking = versions.Versions(store)
    looking.start(silent=True)
    await asyncio.sleep(0.5)  # five times as long as others take to say it
    await looking.stop()
    async with store.transaction() as transaction:
        said = await transaction.connection.execute("SELECT FROM service.registries")
        assert said.rowcount == 0


async def test_of_versions_that_know_something_one_that_lives_is_enough(
    role: CommandsRole, newer: Newer, store: EventStore
) -> None:
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "INSERT INTO service.registries (fingerprint, commands, facts, seen_at)"
            " VALUES ('taken back', '{}', '{tenant.brand_new@1}', clock_timestamp())"
        )
    await until(lambda: gone(role))

    await newer.lives()

    assert await role.versions.who_knows(facts=["tenant.brand_new@1"]) == "alive"


@pytest.mark.parametrize(("command", "fields"), [("update_profile", {"nickname": "A"}), ("brand_new", {})])
async def test_at_the_answered_door_whoever_asks_is_told_that_versions_are_mixed(
    role: CommandsRole, newer: Newer, caller: Caller, store: EventStore, command: str, fields: dict[str, str]
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer.lives()

    found = outcome(await caller.ask(tenant, command, fields))
    assert (found["error"]["status"], found["error"]["retry_after"]) == (503, 1)
    assert "Two versions" in found["error"]["detail"]
    mistaken = await caller.ask(tenant, "update_profile", {"nickname_": "A"})
    assert problem(mistaken) == "invalid-command"

    await newer.dies()
    await until(lambda: gone(role))
    found = outcome(await caller.ask(tenant, command, fields))
    assert found["error"]["status"] in (404, 422)


async def test_a_tenant_with_a_newer_fact_is_left_to_the_worker_that_knows_it(
    role: CommandsRole, newer: Newer, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await newer.lives()
    await told_of_a_fact(store, tenant)
    waiting = await caller.put(tenant, "suspend", {"reason": "r"})

    await until(held_by_nobody(migrated))
    assert not waiting.done()
    assert await dead_letters(migrated) == []
    assert len(await messages_of(bus.nc, bus.streams.commands)) == 1


async def test_without_such_a_worker_its_partition_waits_and_the_others_go_on(
    role: CommandsRole, newer: Newer, caller: Caller, store: EventStore, migrated: str
) -> None:
    tenants = await active_tenants(store, caller, 12)
    await newer.said()
    await told_of_a_fact(store, tenants[0])
    await until(lambda: gone(role))
    waiting = await caller.put(tenants[0], "suspend", {"reason": "r"})

    others = [await caller.put(each, "suspend", {"reason": "r"}) for each in tenants[1:]]
    async with within("the first of the other commands"):
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(1)  # ten times as long as all tries of a command that fails

    assert not waiting.done()
    assert await dead_letters(migrated) == []


async def gone(role: CommandsRole) -> bool:
    """Return whether the role takes the newer version for gone."""
    return await role.versions.who_knows(facts=["tenant.brand_new@1"]) == "gone"


async def test_a_fact_that_no_version_knows_is_a_technical_failure(
    role: CommandsRole, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await told_of_a_fact(store, tenant)
    found = await soon(await caller.put(tenant, "suspend", {"reason": "r"}, uuid4()))
    assert problem(found) == "unavailable"
    assert [letter[3] for letter in await dead_letters(migrated)] == ["failed"]
