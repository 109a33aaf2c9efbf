"""A worker dies at any point, also while undoing: another one finishes what it began."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid4

from handlers.saga_runner.agenda import Agenda, Due
from handlers.saga_runner.shelf import shelve
from handlers.saga_runner.worker import Limits
from tenant_domain.operation.commands import CancelOperation
from tenant_domain.operation.events import StepCompensated, StepCompleted
from tenant_domain.operation.state import OperationStatus
from tenant_domain.values import Status
from tests.handlers.saga_runner.faults import Faults, Pause, Point, fail_for_good
from tests.handlers.saga_runner.house import EVERYTHING, House, kill, wish
from tests.support.waiting import soon, within

SHORT = Limits(lease=0.5, poll=0.05, grace=0.5)
WHENS: tuple[Literal["before", "after"], ...] = ("before", "after")
DOING: list[Point] = [
    (when, effect)
    for effect in ("create_bucket", "create_schema", "write_defaults", "write_admin", "send_ready_notice")
    for when in WHENS
]
UNDOING: list[Point] = [(when, effect) for effect in ("remove_bucket", "drop_schema") for when in WHENS]


async def completed_once(house: House, tenant_id: object) -> None:
    facts = await house.facts(tenant_id)  # type: ignore[arg-type]
    done = Counter(event.step for event in facts if isinstance(event, StepCompleted))
    undone = Counter(event.step for event in facts if isinstance(event, StepCompensated))
    assert set(done.values()) | set(undone.values()) == {1}


async def test_a_worker_that_dies_at_any_step_is_followed_by_another_that_finishes(house: House):
    for point in DOING:
        faults, pause = Faults(house.effects), Pause()
        faults.plan(point, pause)
        doomed = house.role(effects=faults.effects(), limits=SHORT)
        await doomed.start()
        tenant_id, operation_id = await house.provision()
        await soon(pause.reached.wait())
        await kill(doomed)
        async with house.working(limits=SHORT):
            operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.SUCCEEDED, point
        assert await house.remains(tenant_id) == EVERYTHING, point
        assert await house.sql(f"SELECT count(*) FROM t_{tenant_id.hex}.users") == [(1,)], point
        await completed_once(house, tenant_id)


async def test_a_worker_that_dies_while_undoing_is_followed_by_another_that_finishes(house: House):
    for point in UNDOING:
        faults, pause = Faults(house.effects), Pause()
        faults.plan(("before", "send_ready_notice"), fail_for_good)
        faults.plan(point, pause)
        doomed = house.role(effects=faults.effects(), limits=SHORT)
        await doomed.start()
        tenant_id, operation_id = await house.provision()
        await soon(pause.reached.wait())
        await kill(doomed)
        async with house.working(limits=SHORT):
            operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.ROLLED_BACK, point
        assert await house.remains(tenant_id) == set(), point
        assert (await house.tenant(tenant_id)).status is Status.FAILED, point
        await completed_once(house, tenant_id)


async def test_runs_of_a_killed_process_are_finished_by_another(house: House, tmp_path: Path):
    doomed = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.handlers.saga_runner.lone_worker",
        house.postgres_url,
        house.nats.connected_url.geturl() if house.nats.connected_url else "",
        str(house.objects),
        house.subjects.prefix,
    )
    runs = [await house.provision() for _ in range(30)]
    try:
        await house.until(runs[0][1], lambda state: state.finished)
    finally:
        doomed.send_signal(signal.SIGKILL)
        await doomed.wait()
    left = [run for run in runs if not (await house.operation(run[1])).finished]
    async with house.working(limits=SHORT):
        operations = [await house.finished(operation_id) for _, operation_id in runs]
    assert left
    assert {operation.status for operation in operations} == {OperationStatus.SUCCEEDED}
    for tenant_id, _ in runs:
        assert await house.remains(tenant_id) == EVERYTHING
        await completed_once(house, tenant_id)


async def test_a_run_is_taken_again_when_the_answer_that_gave_it_was_lost(house: House):
    agenda, owner = Agenda(house.postgres_url, timedelta(seconds=1000)), uuid4()
    _, operation_id = await house.provision()

    async def taken() -> list[UUID]:
        return [due.operation_id for due in await agenda.take(owner, datetime.now(UTC), 10, 8)]

    await agenda.register(owner)
    assert await taken() == [operation_id]
    await agenda.free(owner, [operation_id])
    assert await taken() == []
    await agenda.free(owner, [])
    assert await taken() == [operation_id]
    await agenda.close()


async def test_a_run_that_rests_is_only_taken_off_the_agenda(house: House):
    async with house.working():
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
    before = await house.history(tenant_id)

    due = Due(operation_id, tenant_id, "provisioning", None)
    shelved = await shelve(house.store, due, uuid4(), RuntimeError("trouble"))

    assert shelved is not None
    assert shelved[1].events == ()
    assert await house.history(tenant_id) == before


async def test_several_workers_share_runs_without_doing_any_twice(house: House):
    runs = [await house.provision() for _ in range(30)]
    faults = Faults(house.effects)
    async with (
        house.working(effects=faults.effects(), limits=Limits(concurrency=4)),
        house.working(effects=faults.effects(), limits=Limits(concurrency=4)),
    ):
        operations = [await house.finished(operation_id) for _, operation_id in runs]
    assert {operation.status for operation in operations} == {OperationStatus.SUCCEEDED}
    for tenant_id, _ in runs:
        await completed_once(house, tenant_id)
        assert faults.calls[tenant_id, "send_ready_notice"] == 1


async def test_a_worker_that_stops_gives_its_runs_back_at_once(house: House):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", "send_ready_notice"), pause)
    first = house.role(effects=faults.effects(), limits=Limits(lease=1000.0, grace=0.1))
    await first.start()
    _, operation_id = await house.provision()
    await soon(pause.reached.wait())
    await first.stop()
    assert pause.cancelled
    assert await house.sql("SELECT * FROM service.saga_workers") == []
    async with house.working():
        operation = await house.finished(operation_id)
    assert operation.status is OperationStatus.SUCCEEDED


async def test_a_worker_whose_runs_were_taken_over_writes_nothing_and_lets_go(house: House):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", "create_bucket"), pause)
    zombie = house.role(effects=faults.effects(), limits=Limits(lease=1000.0), look=1000.0)
    await zombie.start()
    tenant_id, operation_id = await house.provision()
    await soon(pause.reached.wait())
    async with house.working():
        await house.sql("DELETE FROM service.saga_workers WHERE lease_until > now() + interval '500 s'")
        operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.SUCCEEDED
        before = await house.history(tenant_id)
        pause.released.set()
        await zombie.stop()
    assert await house.history(tenant_id) == before
    assert await house.remains(tenant_id) == EVERYTHING
    await completed_once(house, tenant_id)


async def test_what_a_zombie_did_outside_after_the_run_was_undone_is_undone_too(house: House):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", "create_bucket"), pause)
    zombie = house.role(effects=faults.effects(), limits=Limits(1, lease=1000.0, grace=30.0), look=1000.0)
    await zombie.start()
    tenant_id, operation_id = await house.provision(subdomain=wish().subdomain)
    await soon(pause.reached.wait())
    async with house.working():
        await house.sql("UPDATE service.saga_agenda SET owner = NULL")
        await house.ask(tenant_id, CancelOperation(operation_id=operation_id))
        operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.CANCELLED
        pause.released.set()
        await zombie.stop()
    assert faults.calls[tenant_id, "create_bucket"] == 1
    assert await house.remains(tenant_id) == set()


async def test_a_worker_that_lost_its_lease_begins_another_and_goes_on(house: House):
    async with house.working(limits=SHORT):
        await house.finished((await house.provision())[1])
        first = await house.sql("SELECT owner FROM service.saga_workers")
        await house.sql("DELETE FROM service.saga_workers")
        async with within("the worker's next lease"):
            while (second := await house.sql("SELECT owner FROM service.saga_workers")) in ([], first):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert second != first
        operation = await house.finished((await house.provision())[1])
        assert operation.status is OperationStatus.SUCCEEDED
