"""Whatever the database says, workers pause and go on, and no run suffers: a real server says SQLSTATEs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from handlers.adapters.effects import Work
from handlers.saga_runner.worker import Limits
from tenant_domain.operation.state import OperationStatus
from tests.handlers.saga_runner.faults import Act, Faults
from tests.handlers.saga_runner.house import House
from tests.support.waiting import until, within

READ_ONLY, DISK_FULL, TOO_MANY, STARTING, INTERNAL, IO = "25006", "53100", "53300", "57P03", "XX000", "58030"
SERIALIZATION, LOCKED, CANCELED, FORBIDDEN, MISSING = "40001", "55P03", "57014", "42501", "42P01"

AWAY = (READ_ONLY, DISK_FULL, TOO_MANY, STARTING, INTERNAL, IO)
"""What a server says that could do nothing of the kind now, whatever it was asked."""

ANYTHING = (*AWAY, SERIALIZATION, LOCKED, CANCELED, FORBIDDEN, MISSING)

OFTEN = 6
"""More often than a step may fail."""

Logs = list[MutableMapping[str, Any]]


def saying(state: str) -> Act:
    """Return what has the server end a step's transaction with the SQLSTATE."""

    async def say(work: Work) -> None:
        assert work.connection is not None
        await work.connection.execute(f"DO $$BEGIN RAISE 'as told' USING ERRCODE = '{state}'; END$$".encode())

    return say


async def said(logs: Logs, event: str) -> None:
    """Wait until the event stands in the log."""
    await until(lambda: any(entry["event"] == event for entry in logs))


@pytest.mark.parametrize("state", AWAY)
async def test_a_step_that_no_server_could_do_has_not_failed(house: House, state: str):
    faults = Faults(house.effects)
    faults.plan(("before", "create_schema"), *[saying(state)] * OFTEN)
    async with house.working(effects=faults.effects(), chance=lambda: 0.0):
        _, operation_id = await house.provision()
        run = await house.finished(operation_id)
    assert run.status is OperationStatus.SUCCEEDED
    step = run.step("create_schema")
    assert (step.error, step.tries) == (None, 0)


@pytest.mark.parametrize("table", ["saga_workers", "saga_agenda"])
@pytest.mark.parametrize("state", ANYTHING)
async def test_a_worker_outlives_whatever_its_agenda_answers(house: House, state: str, table: str):
    async with house.working(limits=Limits(lease=3.0, poll=0.05, grace=0.5)):
        await house.finished((await house.provision())[1])
        with capture_logs() as logs:
            await house.sql(
                "CREATE FUNCTION service.refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$BEGIN RAISE 'as told' USING ERRCODE = '{state}'; END$$"
            )
            await house.sql(
                f"CREATE TRIGGER refuse BEFORE UPDATE ON service.{table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION service.refuse()"
            )
            await said(logs, "saga agenda not available")
        await house.sql(f"DROP TRIGGER refuse ON service.{table}")
        run = await house.finished((await house.provision())[1])
    assert run.status is OperationStatus.SUCCEEDED


async def test_a_worker_that_fails_for_a_defect_is_told_of(house: House, monkeypatch: pytest.MonkeyPatch):
    role = house.role()
    told: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    handler: Callable[[Any, dict[str, Any]], object] = lambda _, context: told.set_result(context)  # noqa: E731
    asyncio.get_running_loop().set_exception_handler(handler)
    try:
        monkeypatch.setattr(role._worker, "_room", lambda: 1 / 0)  # pyright: ignore[reportPrivateUsage]
        await role.start()
        async with within("the loop to be told of the defect"):
            context = await told
        await role.stop()
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["defect"]
