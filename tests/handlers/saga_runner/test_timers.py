"""Due times on a virtual clock: a year passes in no time, and nothing is early, late or forgotten."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from handlers.saga_runner.worker import Limits
from sagas.definition import RetryPolicy, Saga
from sagas.registry import SAGAS
from tenant_domain.operation.commands import CancelOperation
from tenant_domain.operation.state import Operation, OperationStatus, StepStatus
from tests.handlers.saga_runner.faults import Faults, fail
from tests.handlers.saga_runner.house import House, quickened

A_YEAR = timedelta(days=365)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC) + timedelta(hours=1)  # what is asked for in this test is due

    def __call__(self) -> datetime:
        return self.time


def notice_in_a_year(clock: Clock) -> dict[str, Saga]:
    """Return the sagas, with a provisioning that sends its notice in a year."""
    due = clock() + A_YEAR

    def in_a_year(_: Operation) -> datetime:
        return due

    saga = SAGAS["provisioning"]
    steps = tuple(step._replace(due=in_a_year) if step.name == "notify" else step for step in saga.steps)
    return quickened(sagas={**SAGAS, "provisioning": saga._replace(steps=steps)})


async def asleep(house: House, operation_id: object) -> bool:
    rows = await house.sql("SELECT owner FROM service.saga_agenda WHERE operation_id = %s", operation_id)
    return rows == [(None,)]


async def test_a_year_passes_at_once(house: House):
    clock = Clock()
    async with house.working(sagas=notice_in_a_year(clock), now=clock):
        _, operation_id = await house.provision()
        waiting = await house.until(operation_id, lambda state: state.step("notify").due_at is not None)
        assert waiting.step("notify").status is StepStatus.PENDING
        clock.time += A_YEAR - timedelta(seconds=1)
        await asyncio.sleep(0.3)
        assert (await house.operation(operation_id)).step("notify").status is StepStatus.PENDING
        assert await asleep(house, operation_id)
        clock.time += timedelta(seconds=2)
        state = await house.finished(operation_id)
    assert state.status is OperationStatus.SUCCEEDED
    started = state.step("notify").started_at
    assert started is not None
    assert started == clock.time


async def test_who_sleeps_is_found_by_a_worker_that_starts_later(house: House):
    clock = Clock()
    sagas = notice_in_a_year(clock)
    async with house.working(sagas=sagas, now=clock):
        _, operation_id = await house.provision()
        await house.until(operation_id, lambda state: state.step("notify").due_at is not None)
    clock.time += A_YEAR + timedelta(seconds=1)
    async with house.working(sagas=sagas, now=clock):
        assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED


async def test_who_sleeps_is_undone_at_once(house: House):
    clock = Clock()
    async with house.working(sagas=notice_in_a_year(clock), now=clock):
        tenant_id, operation_id = await house.provision()
        await house.until(operation_id, lambda state: state.step("notify").due_at is not None)
        await house.ask(tenant_id, CancelOperation(operation_id=operation_id))
        assert (await house.finished(operation_id)).status is OperationStatus.CANCELLED
    assert await house.remains(tenant_id) == set()


async def test_a_retry_months_away_is_kept_and_not_forgotten(house: House):
    clock = Clock()
    faults = Faults(house.effects)
    faults.plan(("before", "send_ready_notice"), fail)
    slow = RetryPolicy(first=100 * 86400.0, cap=100 * 86400.0, jitter=0.0)
    async with house.working(
        effects=faults.effects(), sagas=quickened(slow), now=clock, limits=Limits(poll=0.05)
    ):
        _, operation_id = await house.provision()
        await house.until(operation_id, lambda state: state.step("notify").retry_at is not None)
        clock.time += timedelta(days=101)
        assert (await house.finished(operation_id)).step("notify").attempts == 2


async def test_a_run_that_waits_for_a_try_goes_on_when_the_clock_was_put_back(house: House):
    faults = Faults(house.effects)
    faults.plan(("before", "create_bucket"), fail)
    ahead = timedelta(hours=1)
    house.now = lambda: datetime.now(UTC) + ahead
    _, operation_id = await house.provision()
    slow = RetryPolicy(max_tries=3, first=60.0, factor=1.0, cap=60.0)
    async with house.working(effects=faults.effects(), sagas=quickened(slow)):
        await house.until(operation_id, lambda run: run.step("create_schema").error is not None)
        ahead = timedelta()
    async with house.working(effects=faults.effects(), sagas=quickened(slow)):
        run = await house.finished(operation_id)
    assert run.status is OperationStatus.SUCCEEDED
