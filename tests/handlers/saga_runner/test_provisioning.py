"""A tenant that is asked for comes to life."""

from tenant_domain.operation.state import OperationStatus
from tenant_domain.values import Status
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
