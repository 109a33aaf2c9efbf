"""Operators' commands work in every state of a run, also while a step is at work."""

from __future__ import annotations

import pytest

from handlers.saga_runner.worker import Limits
from sagas.definition import RetryPolicy
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.state import OperationStatus
from tenant_domain.refusals import InvalidTransition
from tenant_domain.tenant.commands import Resume, Suspend
from tenant_domain.values import Status
from tests.handlers.saga_runner.faults import Faults, Pause, fail, fail_for_good
from tests.handlers.saga_runner.house import EVERYTHING, House, quickened
from tests.support.waiting import soon

ENDINGS = [
    (CancelOperation, OperationStatus.CANCELLED),
    (CompensateOperation, OperationStatus.ROLLED_BACK),
]
SLOW = RetryPolicy(max_tries=5, first=1000.0, cap=1000.0)


@pytest.mark.parametrize(("command", "status"), ENDINGS)
async def test_a_run_that_nobody_took_yet_is_undone(
    house: House, command: type[CancelOperation | CompensateOperation], status: OperationStatus
):
    tenant_id, operation_id = await house.provision()
    await house.ask(tenant_id, command(operation_id=operation_id))
    async with house.working():
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is status
    assert (await house.tenant(tenant_id)).status is Status.FAILED
    assert await house.remains(tenant_id) == set()


@pytest.mark.parametrize(("command", "status"), ENDINGS)
@pytest.mark.parametrize("effect", ["create_bucket", "send_ready_notice"])
async def test_a_long_effect_outside_is_stopped_and_the_run_undone(
    house: House, effect: str, command: type[CancelOperation | CompensateOperation], status: OperationStatus
):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", effect), pause)
    async with house.working(effects=faults.effects(), look=0.05):
        tenant_id, operation_id = await house.provision()
        await soon(pause.reached.wait())
        await house.ask(tenant_id, command(operation_id=operation_id))
        operation = await house.until(operation_id, lambda state: state.finished)
    assert pause.cancelled
    assert operation.status is status
    assert await house.remains(tenant_id) == set()
    assert faults.calls[tenant_id, effect] == 1


@pytest.mark.parametrize("effect", ["create_schema", "write_admin"])
async def test_an_effect_inside_the_database_that_was_overtaken_leaves_nothing(house: House, effect: str):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("after", effect), pause)
    async with house.working(effects=faults.effects()):
        tenant_id, operation_id = await house.provision()
        await soon(pause.reached.wait())
        await house.ask(tenant_id, CancelOperation(operation_id=operation_id))
        pause.released.set()
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.CANCELLED
    assert operation.reason == "Cancelled by an operator."
    assert await house.remains(tenant_id) == set()


@pytest.mark.parametrize("point", ["drop_schema", "remove_bucket"])
async def test_a_run_that_is_being_undone_goes_on_undoing(house: House, point: str):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", "send_ready_notice"), fail_for_good)
    faults.plan(("before", point), pause)
    async with house.working(effects=faults.effects(), look=0.05):
        tenant_id, operation_id = await house.provision()
        await soon(pause.reached.wait())
        for command in (CancelOperation, CompensateOperation, RetryOperation):
            await house.ask(tenant_id, command(operation_id=operation_id))
        pause.released.set()
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.ROLLED_BACK
    assert await house.remains(tenant_id) == set()


async def test_a_waiting_step_is_tried_at_once_when_asked(house: House):
    faults = Faults(house.effects)
    faults.plan(("before", "create_bucket"), fail)
    async with house.working(effects=faults.effects(), sagas=quickened(SLOW)):
        tenant_id, operation_id = await house.provision()
        await house.until(operation_id, lambda state: any(step.retry_at for step in state.steps))
        await house.ask(tenant_id, RetryOperation(operation_id=operation_id))
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.SUCCEEDED
    assert operation.step("create_schema").attempts == 2
    assert await house.remains(tenant_id) == EVERYTHING


@pytest.mark.parametrize(("command", "status"), ENDINGS)
async def test_a_waiting_run_is_undone_at_once(
    house: House, command: type[CancelOperation | CompensateOperation], status: OperationStatus
):
    faults = Faults(house.effects)
    faults.plan(("before", "send_ready_notice"), fail)
    async with house.working(effects=faults.effects(), sagas=quickened(SLOW)):
        tenant_id, operation_id = await house.provision()
        await house.until(operation_id, lambda state: any(step.retry_at for step in state.steps))
        await house.ask(tenant_id, command(operation_id=operation_id))
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is status
    assert await house.remains(tenant_id) == set()


@pytest.mark.parametrize(("command", "status"), ENDINGS)
async def test_a_parked_run_is_undone(
    house: House, command: type[CancelOperation | CompensateOperation], status: OperationStatus
):
    sagas = quickened(on_failure="park")
    faults = Faults(house.effects)
    faults.plan(("before", "send_ready_notice"), fail_for_good)
    async with house.working(effects=faults.effects(), sagas=sagas):
        tenant_id, operation_id = await house.provision()
        assert (await house.finished(operation_id)).status is OperationStatus.PARKED
        await house.ask(tenant_id, command(operation_id=operation_id))
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is status
    assert await house.remains(tenant_id) == set()


async def test_an_ended_run_cannot_be_changed(house: House):
    async with house.working():
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
    for command in (CancelOperation, CompensateOperation, RetryOperation):
        with pytest.raises(InvalidTransition):
            await house.ask(tenant_id, command(operation_id=operation_id))


async def test_commands_at_any_moment_end_in_all_or_nothing(house: House):
    """Cancelled while everything is at work: each run ends one way or the other, whole."""
    async with house.working(look=0.01, limits=Limits(concurrency=8)):
        runs = [await house.provision() for _ in range(24)]
        for tenant_id, operation_id in runs:
            try:
                await house.ask(tenant_id, CancelOperation(operation_id=operation_id))
            except InvalidTransition:
                continue
        operations = [await house.until(run, lambda state: state.finished) for _, run in runs]
    for (tenant_id, _), operation in zip(runs, operations, strict=True):
        done = operation.status is OperationStatus.SUCCEEDED
        assert await house.remains(tenant_id) == (EVERYTHING if done else set())
        assert (await house.tenant(tenant_id)).status is (Status.ACTIVE if done else Status.FAILED)


async def test_a_suspension_closes_access_and_a_resumption_opens_it(house: House):
    async with house.working():
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
        login = f"SELECT rolcanlogin FROM pg_roles WHERE rolname = 't_{tenant_id.hex}'"
        for command, status, can_login in (
            (Suspend(reason="unpaid"), Status.SUSPENDED, False),
            (Resume(), Status.ACTIVE, True),
        ):
            operation_id = await house.ask(tenant_id, command)
            assert operation_id is not None
            assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED
            tenant = await house.tenant(tenant_id)
            assert (tenant.status, tenant.operation_id) == (status, None)
            assert await house.sql(login) == [(can_login,)]


async def test_a_suspension_that_is_cancelled_gives_access_back(house: House):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("after", "close_access"), pause)
    async with house.working(effects=faults.effects(), look=0.05):
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
        suspension = await house.ask(tenant_id, Suspend(reason="unpaid"))
        assert suspension is not None
        await soon(pause.reached.wait())
        await house.ask(tenant_id, CancelOperation(operation_id=suspension))
        operation = await house.until(suspension, lambda state: state.finished)
    assert operation.status is OperationStatus.CANCELLED
    assert (await house.tenant(tenant_id)).status is Status.ACTIVE
    login = f"SELECT rolcanlogin FROM pg_roles WHERE rolname = 't_{tenant_id.hex}'"
    assert await house.sql(login) == [(True,)]
