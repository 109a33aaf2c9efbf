"""How a worker is woken, bounded, and goes on through outages; what its events carry along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import psycopg
from prometheus_client import CollectorRegistry

from deploy.embedded import EmbeddedStack
from handlers.adapters.effects import Work
from handlers.saga_runner.worker import Limits
from handlers.wire.events import Meta, opened
from tenant_domain.operation import decide as operation
from tenant_domain.operation.state import OperationStatus
from tests.handlers.saga_runner.faults import Faults, Pause, fail
from tests.handlers.saga_runner.house import EVERYTHING, House, house_at, wish
from tests.support.waiting import PATIENCE, soon, within

NEVER = 1000.0


async def test_a_worker_is_woken_by_what_others_commit(house: House):
    async with house.working(limits=Limits(poll=NEVER)):
        await house.finished((await house.provision())[1])
        _, operation_id = await house.provision()
        state = await house.finished(operation_id)
        assert state.status is OperationStatus.SUCCEEDED


async def test_a_worker_finds_what_nobody_told_it_of(house: House):
    deaf = house.subjects._replace(prefix="elsewhere")
    async with house.working(subjects=deaf):
        state = await house.finished((await house.provision())[1])
    assert state.status is OperationStatus.SUCCEEDED


async def test_a_step_that_waits_is_taken_up_when_it_is_due(house: House):
    faults = Faults(house.effects)
    faults.plan(("before", "create_bucket"), fail)
    async with house.working(effects=faults.effects(), limits=Limits(poll=NEVER)):
        state = await house.finished((await house.provision())[1])
    assert state.step("create_schema").attempts == 2


async def test_others_are_told_of_every_commit(house: House):
    heard = await house.nats.subscribe(house.subjects.hint("committed"))
    await house.nats.flush()
    async with house.working():
        await house.finished((await house.provision())[1])
    await house.nats.flush()
    heads = [int((await heard.next_msg(timeout=PATIENCE)).data) for _ in range(heard.pending_msgs)]
    assert heads == sorted(heads)
    assert heads[-1] == await house.store.head()


async def test_no_more_runs_are_at_work_than_allowed(house: House):
    pauses = [Pause() for _ in range(6)]
    faults = Faults(house.effects)
    faults.plan(("before", "create_bucket"), *pauses)
    runs = [await house.provision() for _ in range(6)]
    limits, registry = Limits(concurrency=2, poll=0.05), CollectorRegistry()
    async with house.working(effects=faults.effects(), limits=limits, registry=registry):
        for reached in range(0, 6, 2):
            await soon(pauses[reached + 1].reached.wait())
            assert registry.get_sample_value("tenants_operations_running") == 2
            assert not any(pause.reached.is_set() for pause in pauses[reached + 2 :])
            for pause in pauses[reached : reached + 2]:
                pause.released.set()
        for _, operation_id in runs:
            await house.finished(operation_id)


async def test_events_carry_on_what_came_with_the_command(house: House):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    meta = Meta(actor="crm", correlation_id="order-7", causation_id="command", traceparent=trace)
    tenant_id = uuid4()
    operation_id = await house.ask(tenant_id, wish(), meta)
    assert operation_id is not None
    async with house.working():
        await house.finished(operation_id)
    ours = [opened(event.state).meta for event in (await house.history(tenant_id))[3:]]
    assert ours
    for each in ours:
        assert (each.actor, each.correlation_id) == ("crm", "order-7")
        assert each.causation_id == str(operation_id)
        assert each.traceparent == trace


async def test_figures_count_steps_and_ends(house: House):
    registry = CollectorRegistry()
    async with house.working(registry=registry):
        await house.finished((await house.provision())[1])
    labels = {"kind": "provisioning", "step": "notify", "outcome": "completed"}
    assert registry.get_sample_value("tenants_saga_steps_total", labels) == 1
    ended = {"kind": "provisioning", "ending": "succeeded"}
    assert registry.get_sample_value("tenants_operations_total", ended) == 1
    assert registry.get_sample_value("tenants_operations_running") == 0


async def test_hundreds_of_tenants_at_once_all_come_to_life(house: House):
    runs = [await house.provision() for _ in range(100)]
    async with house.working():
        await house.quiet()
    states = await house.store.load([operation.ref(operation_id) for _, operation_id in runs])
    assert {loaded.state.status for loaded in states.values()} == {OperationStatus.SUCCEEDED}
    schemas = await house.sql(
        "SELECT count(*) FROM pg_namespace JOIN pg_roles ON nspname = rolname WHERE nspname ~ '^t_'"
    )
    assert schemas == [(100,)]


async def test_runs_go_on_when_the_database_comes_back(own_stack: EmbeddedStack, tmp_path: Path):
    """The server dies in the middle of a step's transaction, twice."""
    urls, kills = own_stack.endpoints, ["one", "two"]

    async def kill(_: Work) -> None:
        if kills:
            kills.pop()
            await own_stack.kill("postgres")

    async with house_at(urls.postgres_url, urls.nats_url, tmp_path) as house:
        faults = Faults(house.effects)
        faults.plan(("after", "create_schema"), *[kill] * 50)
        runs = [await house.provision() for _ in range(8)]
        async with house.working(effects=faults.effects()):
            await _patiently(house.quiet)
        assert kills == []
        for tenant_id, operation_id in runs:
            state = await house.operation(operation_id)
            assert state.status is OperationStatus.SUCCEEDED
            assert state.step("create_schema").error is None
            assert await house.remains(tenant_id) == EVERYTHING


async def _patiently(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask until the database answers."""
    async with within("a database that answers"):
        while True:
            try:
                return await ask()
            except psycopg.OperationalError:
                await asyncio.sleep(0.05)
