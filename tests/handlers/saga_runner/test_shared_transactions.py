"""Steps in one transaction: blind ones are sent without waiting, and each failure still finds its step."""

from __future__ import annotations

from typing import Any

from psycopg.pq import PipelineStatus

from handlers.adapters.effects import EffectFailed, Work
from sagas.definition import Deed, RetryPolicy, Saga
from sagas.registry import SAGAS
from tenant_domain.operation.events import StepCompensated, StepCompleted, StepFailed
from tenant_domain.operation.state import OperationStatus, StepStatus
from tests.handlers.saga_runner.faults import Act, Faults, fail_for_good, once
from tests.handlers.saga_runner.house import House, quickened

LIMIT = 0.5
"""Seconds that a step may take where one takes longer."""


def doing(statement: str) -> Act:
    """Return an act that has the database do something, and looks at no answer."""

    async def act(work: Work) -> None:
        await work.transaction.execute(statement.encode())

    return act


async def test_statements_of_blind_steps_are_piped_and_no_others(house: House):
    faults, piped = Faults(house.effects), dict[str, bool]()

    def looking_at(effect: str) -> Act:
        async def act(work: Work) -> None:
            piped[effect] = work.transaction.pgconn.pipeline_status == PipelineStatus.ON

        return act

    for effect in ("create_schema", "write_defaults", "write_admin"):
        faults.plan(("before", effect), looking_at(effect))
    sagas = quickened(sagas={**SAGAS, "provisioning": _defaults_apart()})
    async with house.working(effects=faults.effects(), sagas=sagas):
        _, operation_id = await house.provision()
        assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED
    assert piped == {"create_schema": False, "write_defaults": True, "write_admin": True}


async def test_a_blind_statement_that_fails_is_the_failure_of_its_own_step_alone(house: House):
    faults = Faults(house.effects)
    runs = [await house.provision() for _ in range(8)]
    unlucky, _ = runs[3]
    refused = once(doing("SELECT 1 / 0"), "write_admin")
    faults.plan(("before", "write_admin"), *[refused] * 5, tenant_id=unlucky)
    sagas = quickened(sagas={**SAGAS, "provisioning": _defaults_apart()})
    async with house.working(effects=faults.effects(), sagas=sagas):
        operations = [await house.finished(operation_id) for _, operation_id in runs]
    assert {operation.status for operation in operations} == {OperationStatus.SUCCEEDED}
    failures = {
        tenant_id: [event for event in await house.facts(tenant_id) if isinstance(event, StepFailed)]
        for tenant_id, _ in runs
    }
    assert [(event.step, event.error) for event in failures.pop(unlucky)] == [
        ("setup_admin", "The database refused it (DivisionByZero, 22012).")
    ]
    assert not any(failures.values())
    done = [event.step for event in await house.facts(unlucky) if isinstance(event, StepCompleted)]
    assert done == [step.name for step in SAGAS["provisioning"].steps]


async def test_a_blind_statement_that_takes_too_long_has_failed(house: House):
    faults = Faults(house.effects)
    slow = once(doing("SELECT pg_sleep(60)"), "write_admin")
    faults.plan(("before", "write_admin"), *[slow] * 3)
    tries = RetryPolicy(
        max_tries=100, first=0.01, factor=1.0, cap=0.01
    )  # it may take too long by itself, too
    sagas = quickened(tries, {"provisioning": _hurried()})
    async with house.working(effects=faults.effects(), sagas=sagas):
        _, operation_id = await house.provision()
        operation = await house.until(operation_id, lambda state: bool(state.step("setup_admin").error))
        assert operation.step("setup_admin").error == "It did not end within its time limit."
        assert operation.step("configure_defaults").status is StepStatus.COMPLETED
        assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED


async def test_undone_steps_share_a_transaction_and_a_failure_finds_its_own(house: House):
    async def undo(_: Work) -> None:
        return

    async def undo_at_the_second_try(work: Work) -> None:
        if work.operation.step("configure_defaults").error is None:
            raise EffectFailed("The world was against it.")

    undoable = _with("configure_defaults", inside=Deed("write_defaults", undo="undo_defaults"))
    undoable = _with("setup_admin", undoable, inside=Deed("write_admin", undo="undo_admin"))
    undoable = _with("validate", undoable, inside=Deed("undo", undo="undo"))
    faults = Faults(
        {**house.effects, "undo": undo, "undo_admin": undo, "undo_defaults": undo_at_the_second_try}
    )
    faults.plan(("before", "send_ready_notice"), fail_for_good)
    async with house.working(effects=faults.effects(), sagas=quickened(sagas={"provisioning": undoable})):
        tenant_id, operation_id = await house.provision()
        assert (await house.finished(operation_id)).status is OperationStatus.ROLLED_BACK
    told = [
        (event.step, type(event))
        for event in await house.facts(tenant_id)
        if isinstance(event, StepCompensated | StepFailed) and event.step != "notify"
    ]
    assert told == [
        ("setup_admin", StepCompensated),
        ("configure_defaults", StepFailed),
        ("configure_defaults", StepCompensated),
        ("create_schema", StepCompensated),
        ("validate", StepCompensated),
    ]
    last = [event for event in await house.history(tenant_id) if event.topic == StepCompensated.name][-2:]
    assert last[0].recorded_at == last[1].recorded_at


def _defaults_apart() -> Saga:
    """Return the provisioning with a transaction for its blind steps alone: the first acts outside too."""
    return _with("configure_defaults", outside=Deed("create_bucket"))


def _hurried() -> Saga:
    """Return the same with little time for its last blind step."""
    return _with("setup_admin", _defaults_apart(), limit=LIMIT)


def _with(name: str, saga: Saga = SAGAS["provisioning"], **changes: Any) -> Saga:
    steps = (step._replace(**changes) if step.name == name else step for step in saga.steps)
    return saga._replace(steps=tuple(steps))
