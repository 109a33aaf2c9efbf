"""The projector: several at once, ones that die, a database that goes away."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import nats

from handlers.adapters.tasks import end
from handlers.projector.projector import Projector
from handlers.projector.role import ProjectionsRole
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Subjects
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.readside import ReadSide
from tests.support.waiting import PATIENCE


@asynccontextmanager
async def running(*projectors: Projector) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(projector.run()) for projector in projectors]
    try:
        yield
    finally:
        await end(*tasks)


async def reached(side: ReadSide, position: int) -> None:
    """Wait until the read models include `position`."""
    assert await side.queries.positions.reached(position, PATIENCE)


async def versions(side: ReadSide) -> dict[str, int]:
    page = await side.ask("fleet", "tenants", limit=500)
    return {item["tenant_id"]: item["version"] for item in page["items"]}


def expected(side: ReadSide) -> dict[str, int]:
    return {str(stream): len(facts) for stream, facts in side.history.facts.items()}


async def test_what_is_appended_becomes_visible_without_a_hint(side: ReadSide) -> None:
    projector = side.another_projector(poll=0.05)
    async with running(projector):
        side.history.tenant()
        await reached(side, await side.history.append(side.store))
    assert await versions(side) == expected(side)


async def test_a_hint_wakes_the_projector_long_before_its_poll(side: ReadSide) -> None:
    projector = side.another_projector(poll=3600.0)
    async with running(projector):
        for _ in range(5):
            side.history.tenant()
            head = await side.history.append(side.store)
            projector.wake()
            await reached(side, head)


async def test_large_events_are_projected_to_the_end_without_a_further_hint(side: ReadSide) -> None:
    tenant = side.history.tenant()
    for n in range(40):
        side.history.add(tenant, tenant, ProfileUpdated(metadata={"large": f"{n}" + "x" * 1024 * 1024}))
    head = await side.history.append(side.store)
    async with running(side.another_projector(poll=3600.0)):
        await reached(side, head)
    assert await versions(side) == expected(side)


async def test_two_projectors_at_once_lose_nothing_and_one_stands_by(side: ReadSide) -> None:
    one, two = (side.another_projector(poll=0.01, batch=7, takeover=0.1) for _ in range(2))
    async with running(one, two):
        for n in range(30):
            tenant = side.history.tenant(subdomain=f"t-{n}")
            side.history.add(tenant, tenant, ProfileUpdated(tenant_name=f"Name {n}"))
            await side.history.append(side.store)
        while not (one.standing_by or two.standing_by):
            side.history.tenant()
            await side.history.append(side.store)
            await asyncio.sleep(0)
        await reached(side, await side.store.head())
    assert await versions(side) == expected(side)
    moves = sorted(side.moves, key=lambda move: move.since)  # told by two, in whichever order
    ends = [0, *(move.upto for move in moves)]
    assert [move.since for move in moves] == ends[:-1]  # nothing was written twice, or left out


async def test_the_one_that_stands_by_takes_over_from_a_dead_one(side: ReadSide) -> None:
    dying, other = side.another_projector(), side.another_projector(poll=0.05, takeover=0.05)
    side.history.tenant()
    await other.reload()
    await side.project(dying)
    side.history.tenant()
    await side.history.append(side.store)
    assert await other.step()  # outrun: the other one was quicker
    assert other.standing_by
    async with running(other):
        side.history.tenant()
        await reached(side, await side.history.append(side.store))
    assert not other.standing_by
    assert await versions(side) == expected(side)


async def test_a_projector_that_dies_between_two_batches_is_gone_on_from(side: ReadSide) -> None:
    tenant = side.history.tenant()
    for n in range(9):
        side.history.add(tenant, tenant, ProfileUpdated(tenant_name=f"Name {n}"))
    await side.history.append(side.store)
    dying = side.another_projector(batch=4)
    await dying.reload()
    assert await dying.step()
    assert await versions(side) == {str(tenant): 4}
    await side.project()
    answer = await side.ask(tenant, "tenant")
    assert (answer["version"], answer["name"]) == (10, "Name 8")


async def test_a_projector_that_wakes_up_late_changes_nothing(side: ReadSide) -> None:
    late = side.another_projector()
    await late.reload()
    tenant = side.history.tenant()
    await side.history.append(side.store)
    events = await side.store.read(0, 10)
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="Newer"))
    await side.project()

    class Paused:
        """The log as it was when the projector fell asleep."""

        async def read(self, *_: int) -> list[Any]:
            return events

    late._store = Paused()  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    assert await late.step()
    assert late.standing_by
    assert (await side.ask(tenant, "tenant"))["name"] == "Newer"


async def test_the_role_survives_a_lost_connection(side: ReadSide, nats_url: str) -> None:
    nc = await nats.connect(nats_url)
    subjects = Subjects(f"role-{id(side)}")
    role = ProjectionsRole(nc, side.store, side.url, subjects, poll=0.05)
    await role.start()
    try:
        await role.ready()
        side.history.tenant()
        await reached(side, await side.history.append(side.store))
        await side.fetch(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        side.history.tenant()
        async with EventStore(side.url) as unharmed:
            await reached(side, await side.history.append(unharmed))
    finally:
        await role.stop()
        await nc.close()
    assert await versions(side) == expected(side)
