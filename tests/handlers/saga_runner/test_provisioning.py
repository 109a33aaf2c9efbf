"""A tenant that is asked for comes to life."""

from datetime import datetime
from uuid import UUID

from handlers.saga_runner.worker import Limits
from tenant_domain.operation.events import StepCompleted, StepFailed
from tenant_domain.operation.state import OperationStatus
from tenant_domain.values import Status
from tests.handlers.saga_runner.faults import Faults, fail
from tests.handlers.saga_runner.house import EVERYTHING, House, topics


async def test_a_tenant_is_provisioned_step_by_step(house: House):
    async with house.working():
        tenant_id, operation_id = await house.provision()
        operation = await house.finished(operation_id)

    assert operation.status is OperationStatus.SUCCEEDED
    tenant = await house.tenant(tenant_id)
    assert tenant.status is Status.ACTIVE
    assert tenant.operation_id is None
    assert await house.remains(tenant_id) == EVERYTHING
    assert await house.agenda() == []
    history = await house.history(tenant_id)
    assert topics(history, "tenant") == [
        "tenant.provisioning_started",
        "tenant.defaults_configured",
        "tenant.activated",
    ]
    assert [event.topic for event in history if event.stream_id == operation_id] == [
        "operation.started",
        "operation.step_completed",
        "operation.step_started",
        "operation.step_completed",
        "operation.step_completed",
        "operation.step_completed",
        "operation.step_started",
        "operation.step_completed",
        "operation.step_completed",
        "operation.succeeded",
    ]


async def test_steps_that_need_only_the_database_are_committed_together(house: House):
    async with house.working():
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
    times = await _completed_at(house, tenant_id)
    assert times["create_schema"] == times["configure_defaults"] == times["setup_admin"] < times["notify"]


async def test_a_step_that_may_have_to_wait_for_its_turn_is_committed_by_itself(house: House):
    async with house.working(limits=Limits(steps={"setup_admin": 1})):
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
    times = await _completed_at(house, tenant_id)
    assert times["create_schema"] == times["configure_defaults"] < times["setup_admin"] < times["notify"]


async def _completed_at(house: House, tenant_id: UUID) -> dict[str, datetime]:
    history, facts = await house.history(tenant_id), await house.facts(tenant_id)
    return {
        fact.step: event.recorded_at
        for event, fact in zip(history, facts, strict=True)
        if isinstance(fact, StepCompleted)
    }


async def test_a_step_that_fails_does_not_take_those_before_it_along(house: House):
    faults = Faults(house.effects)
    faults.plan(("after", "write_admin"), fail)
    async with house.working(effects=faults.effects()):
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
    steps = [
        (type(fact), fact.step)
        for fact in await house.facts(tenant_id)
        if isinstance(fact, StepCompleted | StepFailed)
    ]
    assert steps[2:5] == [
        (StepCompleted, "configure_defaults"),
        (StepFailed, "setup_admin"),
        (StepCompleted, "setup_admin"),
    ]
    assert (
        faults.calls[tenant_id, "write_defaults"] == 2
    )  # undone with the failed one, and done again without it
    assert faults.calls[tenant_id, "write_admin"] == 2
    assert await house.sql(f"SELECT count(*) FROM t_{tenant_id.hex}.users") == [(1,)]
