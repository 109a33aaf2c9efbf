"""A saga changes while a thousand of its runs are in flight: none is stuck, and none is confused."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from handlers.adapters.effects import EffectFailed, Effects, PermanentlyFailed, Work
from handlers.saga_runner.worker import Limits
from handlers.store.batch import AgendaRow, Batch, EventRow
from handlers.wire.events import Meta, encoded
from sagas.definition import Deed, RetryPolicy, Saga, Scene, Step
from tenant_domain.decision import NewEvent
from tenant_domain.operation import decide as operation
from tenant_domain.operation.state import Operation, OperationStatus
from tenant_domain.tenant.events import AdminContact, ProvisioningStarted
from tests.handlers.saga_runner.house import House, kill
from tests.support.waiting import until

RUNS = 1000
QUICK = RetryPolicy(max_tries=50, first=0.02, factor=1.0, cap=0.02)


def nothing(_: Scene) -> tuple[NewEvent, ...]:
    return ()


def step(name: str) -> Step:
    return Step(name, outside=Deed(f"do_{name}", undo=f"undo_{name}"), retry=QUICK)


OLD = Saga("provisioning", tuple(map(step, ("rent", "paint", "furnish", "open"))), nothing)
NEW = Saga(
    "provisioning",
    # `inspect` is inserted, `furnish` and `paint` change places, `rent` is taken out: it can still be undone.
    tuple(map(step, ("inspect", "furnish", "paint", "open"))),
    nothing,
    retired=(step("rent"),),
)


class World:
    """Counts what is done for each tenant; every tenth cannot be opened, every seventh attempt fails."""

    def __init__(self) -> None:
        self.done: Counter[tuple[UUID, str]] = Counter()
        self.doomed: set[UUID] = set()
        self.calls = 0

    def effects(self) -> Effects:
        names = ("rent", "inspect", "paint", "furnish", "open")
        table = {f"do_{name}": self._do(name) for name in names}
        return {**table, **{f"undo_{name}": self._undo(name) for name in names}}

    def _do(self, name: str):
        async def act(work: Work) -> None:
            self.calls += 1
            await asyncio.sleep(0)
            if name == "open" and work.tenant_id in self.doomed:
                raise PermanentlyFailed("It cannot be opened.")
            if self.calls % 7 == 0:
                raise EffectFailed("Not now.")
            self.done[work.tenant_id, name] = 1

        return act

    def _undo(self, name: str):
        async def act(work: Work) -> None:
            self.done[work.tenant_id, name] = 0

        return act


async def begun(
    house: House, count: int = RUNS, saga: Saga = OLD, kind: str = "provisioning"
) -> dict[UUID, UUID]:
    """Begin runs of a saga; returns their operations by tenant."""
    runs = {uuid4(): uuid4() for _ in range(count)}
    now = datetime.now(UTC)
    batch = Batch()
    for group, (tenant_id, operation_id) in enumerate(runs.items()):
        born = ProvisioningStarted(
            operation_id=str(operation_id),
            tenant_name="Acme",
            subdomain=f"t-{tenant_id.hex}",
            plan="free",
            region="eu-central",
            admin=AdminContact(email="ada@acme.example", name="Ada"),
        )
        names = tuple(each.name for each in saga.steps)
        started = operation.start(operation_id, tenant_id, kind, names, {}, now).event
        for stream, event in ((tenant_id, born), (operation_id, started)):
            batch.events.append(EventRow(tenant_id, stream, 1, event.name, encoded(event, Meta()), group))
        batch.agenda.append(AgendaRow(operation_id, tenant_id, kind, now, None, group))
    assert not (await house.store.append(batch)).dropped
    return runs


async def states(house: House, runs: dict[UUID, UUID]) -> list[Operation]:
    loaded = await house.store.load([operation.ref(each) for each in runs.values()])
    return [each.state for each in loaded.values()]


async def test_a_changed_saga_takes_over_a_thousand_runs_of_the_old_one(house: House):
    world = World()
    runs = await begun(house)
    world.doomed = set(list(runs)[::10])
    limits = Limits(concurrency=200, lease=1.0, poll=0.05)
    role = house.role(sagas={"provisioning": OLD}, effects=world.effects(), limits=limits)
    await role.start()
    await until(lambda: world.calls >= 2 * RUNS)
    await kill(role)
    positions = Counter(tuple(each.status for each in run.steps) for run in await states(house, runs))
    assert len(positions) > 3, "the runs are to be in different places"

    async with house.working(sagas={"provisioning": NEW}, effects=world.effects(), limits=limits):
        await house.quiet()
    for run in await states(house, runs):
        there = {
            name for (tenant_id, name), there in world.done.items() if tenant_id == run.tenant_id and there
        }
        if run.tenant_id in world.doomed:
            assert run.status is OperationStatus.ROLLED_BACK
            assert there == set()
        else:
            assert run.status is OperationStatus.SUCCEEDED
            new = {"furnish", "paint", "open"}
            ended_before = {"rent", *new}
            assert there in (ended_before, new | {"inspect"}, ended_before | {"inspect"})


LATER = OLD._replace(steps=(*OLD.steps, step("inspect")))
LIMITS = Limits(concurrency=4, lease=5.0, poll=0.05)


@pytest.mark.parametrize(
    ("older", "kind"),
    [({"provisioning": OLD}, "provisioning"), ({"provisioning": OLD}, "renovation")],
    ids=["a step", "a kind"],
)
async def test_an_older_worker_leaves_what_it_does_not_know_to_a_newer_one(
    house: House, older: dict[str, Saga], kind: str
):
    world = World()
    newer = {**older, kind: LATER._replace(kind=kind)}
    async with (
        house.working(sagas=older, effects=world.effects(), limits=LIMITS),
        house.working(sagas=newer, effects=world.effects(), limits=LIMITS),
    ):
        await known(house, kind)
        runs = await begun(house, 12, LATER, kind)
        await house.quiet()
    for run in await states(house, runs):
        assert run.status is OperationStatus.SUCCEEDED, run.parked_reason
        assert world.done[run.tenant_id, "inspect"] == 1


async def test_a_worker_parks_what_nobody_knows(house: House):
    runs = await begun(house, 3, LATER, "renovation")
    async with house.working(sagas={"provisioning": OLD}, effects=World().effects(), limits=LIMITS):
        await house.quiet()
    for run in await states(house, runs):
        assert run.parked_reason == "This version of the service has no saga of the kind 'renovation'."


async def test_a_step_that_was_taken_out_is_passed_over_when_nobody_knows_it_any_more(house: House):
    world = World()
    runs = await begun(house, 3, LATER)
    async with house.working(sagas={"provisioning": OLD}, effects=world.effects(), limits=LIMITS):
        await house.quiet()
    assert {run.status for run in await states(house, runs)} == {OperationStatus.SUCCEEDED}
    assert not [key for key in world.done if key[1] == "inspect"]


async def known(house: House, kind: str) -> None:
    """Wait until the newer worker has said what it knows."""
    said = "SELECT 1 FROM service.registries WHERE steps @> ARRAY[%s]"
    await until(lambda: house.sql(said, f"{kind}.inspect"))
