"""The log is put back to a time before a run: what was done for it goes, unless others build on it."""

from __future__ import annotations

from uuid import UUID

import pytest

from handlers.saga_runner import late
from handlers.saga_runner.role import SagasRole
from handlers.saga_runner.worker import Limits
from sagas.definition import RetryPolicy
from tenant_domain.operation.state import OperationStatus
from tenant_domain.tenant.commands import Suspend
from tests.handlers.saga_runner.faults import Faults, Pause
from tests.handlers.saga_runner.house import House
from tests.support.waiting import soon


@pytest.fixture(autouse=True)
def soon_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again without a pause whether the log has a lost operation after all."""
    monkeypatch.setattr(late, "_PATIENCE", RetryPolicy(first=0.01, cap=0.01))


def sleeper(house: House, effect: str, pause: Pause) -> SagasRole:
    """Return a worker that sleeps before an effect, and sees nothing of what others do meanwhile."""
    faults = Faults(house.effects)
    faults.plan(("before", effect), pause)
    return house.role(effects=faults.effects(), limits=Limits(1, lease=1000.0, grace=30.0), look=1000.0)


async def put_back(house: House, tenant_id: UUID, position: int) -> None:
    """Put a tenant's part of the database back to what it was at a position of the log."""
    await house.sql(
        "DELETE FROM service.events WHERE tenant_id = %s AND notification_id > %s", tenant_id, position
    )
    await house.sql("DELETE FROM service.saga_agenda WHERE tenant_id = %s", tenant_id)


async def test_what_a_lost_run_did_outside_is_taken_back(house: House):
    pause = Pause()
    worker = sleeper(house, "create_bucket", pause)
    await worker.start()
    tenant_id, _ = await house.provision()
    await soon(pause.reached.wait())
    await put_back(house, tenant_id, 0)
    pause.released.set()
    await worker.stop()
    assert await house.remains(tenant_id) == set()


async def test_what_a_lost_run_did_outside_stays_where_a_later_one_did_it_too(house: House):
    async with house.working():
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
        position = (await house.history(tenant_id))[-1].position
    pause = Pause()
    worker = sleeper(house, "close_access", pause)
    await worker.start()
    await house.ask(tenant_id, Suspend(reason="unpaid"))
    await soon(pause.reached.wait())
    await put_back(house, tenant_id, position)
    async with house.working():
        again = await house.ask(tenant_id, Suspend(reason="unpaid"))
        assert again is not None
        assert (await house.finished(again)).status is OperationStatus.SUCCEEDED
        pause.released.set()
        await worker.stop()
    login = f"SELECT rolcanlogin FROM pg_roles WHERE rolname = 't_{tenant_id.hex}'"
    assert await house.sql(login) == [(False,)]
