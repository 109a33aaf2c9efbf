"""A failure at any step, before or after its effect, on real servers."""

from __future__ import annotations

from typing import Literal, TypeAlias
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from sagas.definition import RetryPolicy
from tenant_domain.operation.commands import RetryOperation
from tenant_domain.operation.events import OperationParked, StepFailed
from tenant_domain.operation.state import OperationStatus
from tenant_domain.values import Status
from tests.handlers.saga_runner.faults import Act, Faults, Pause, Point, fail, fail_for_good, once, stumble
from tests.handlers.saga_runner.house import EVERYTHING, House, quickened, topics

WHENS: tuple[Literal["before", "after"], ...] = ("before", "after")
DOING: list[Point] = [
    (when, effect)
    for when in WHENS
    for effect in ("create_bucket", "create_schema", "write_defaults", "write_admin", "send_ready_notice")
]
UNDOING: list[Point] = [(when, effect) for when in WHENS for effect in ("drop_schema", "remove_bucket")]


Runs: TypeAlias = list[tuple[UUID, UUID]]
"""Tenants and their operations."""


async def ask_for_all(house: House, faults: Faults, points: list[Point], act: Act) -> Runs:
    """Ask for a tenant for each point, at which it then fails once."""
    runs = [await house.provision() for _ in points]
    for (tenant_id, _), point in zip(runs, points, strict=True):
        faults.plan(point, *[once(act, point[1])] * 5, tenant_id=tenant_id)
    return runs


async def test_a_step_that_fails_once_is_tried_again(house: House):
    faults = Faults(house.effects)
    runs = await ask_for_all(house, faults, DOING, fail)
    async with house.working(effects=faults.effects()):
        operations = [await house.finished(operation_id) for _, operation_id in runs]
    assert {operation.status for operation in operations} == {OperationStatus.SUCCEEDED}
    for (tenant_id, _), point in zip(runs, DOING, strict=True):
        assert await house.remains(tenant_id) == EVERYTHING, point
        assert (await house.tenant(tenant_id)).status is Status.ACTIVE, point
        failed = [event for event in await house.facts(tenant_id) if isinstance(event, StepFailed)]
        assert [event.error for event in failed] == ["The world was against it."], point
        assert await house.sql(f"SELECT count(*) FROM t_{tenant_id.hex}.users") == [(1,)], point


async def test_a_step_that_fails_for_good_leaves_nothing_behind(house: House):
    faults = Faults(house.effects)
    runs = await ask_for_all(house, faults, DOING, fail_for_good)
    async with house.working(effects=faults.effects()):
        operations = [await house.finished(operation_id) for _, operation_id in runs]
        assert {operation.status for operation in operations} == {OperationStatus.ROLLED_BACK}
        assert await house.agenda() == []
        for (tenant_id, _), point in zip(runs, DOING, strict=True):
            assert await house.remains(tenant_id) == set(), point
            tenant = await house.tenant(tenant_id)
            assert tenant.status is Status.FAILED, point
            await _ended_at_once(house, tenant_id)
            again, operation_id = await house.provision(subdomain=tenant.subdomain)
            assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED, point
            assert await house.remains(again) == EVERYTHING, point


async def test_what_stood_there_before_is_left_as_it_was_and_the_run_says_that_it_is_in_the_way(house: House):
    faults = Faults(house.effects)
    runs = [await house.provision() for _ in range(2)]
    (in_schema, _), (in_bucket, _) = runs
    await house.sql(f"CREATE SCHEMA t_{in_schema.hex}")
    await house.sql(f"CREATE TABLE t_{in_schema.hex}.precious AS SELECT 42 AS answer")
    await house.buckets.create(in_bucket)
    precious = house.objects / f"t-{in_bucket.hex}" / "precious"
    precious.write_bytes(b"42")
    async with house.working(effects=faults.effects()):
        for kind, (_, operation_id) in zip(("schema", "bucket"), runs, strict=True):
            operation = await house.finished(operation_id)
            reason = operation.parked_reason or ""
            assert f"A {kind} t" in reason, reason
            assert "stands there that this run did not make" in reason
        assert await house.sql(f"SELECT answer FROM t_{in_schema.hex}.precious") == [(42,)]
        assert precious.read_bytes() == b"42"

        await house.sql(f"ALTER SCHEMA t_{in_schema.hex} RENAME TO kept_{in_schema.hex}")
        precious.parent.rename(house.objects / "kept")
        for tenant_id, operation_id in runs:
            await house.ask(tenant_id, RetryOperation(operation_id=operation_id))
            ended = await house.until(operation_id, lambda state: state.finished)
            assert ended.status is OperationStatus.ROLLED_BACK
            assert await house.remains(tenant_id) == set()


async def _ended_at_once(house: House, tenant_id: UUID) -> None:
    history = await house.history(tenant_id)
    assert topics(history, "tenant")[-1] == "tenant.provisioning_failed"
    assert topics(history, "subdomain") == ["subdomain.claimed", "subdomain.released"]
    assert history[-1].topic == "operation.rolled_back"
    assert len({event.recorded_at for event in history[-3:]}) == 1


async def test_an_undo_that_fails_once_is_tried_again(house: House):
    faults = Faults(house.effects)
    runs = await ask_for_all(house, faults, UNDOING, fail)
    faults.plan(("before", "send_ready_notice"), *[fail_for_good] * len(runs))
    async with house.working(effects=faults.effects()):
        operations = [await house.finished(operation_id) for _, operation_id in runs]
    assert {operation.status for operation in operations} == {OperationStatus.ROLLED_BACK}
    for (tenant_id, _), point in zip(runs, UNDOING, strict=True):
        assert await house.remains(tenant_id) == set(), point


async def test_a_run_that_cannot_be_undone_is_parked_seen_and_goes_on_when_asked(house: House):
    faults, registry = Faults(house.effects), CollectorRegistry()
    faults.plan(("before", "write_admin"), fail_for_good)
    faults.plan(("before", "remove_bucket"), fail, fail, fail)
    async with house.working(effects=faults.effects(), registry=registry):
        tenant_id, operation_id = await house.provision()
        operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.PARKED
        assert operation.parked_reason == "Undoing the step 'create_schema' failed: The world was against it."
        assert isinstance((await house.facts(tenant_id))[-1], OperationParked)
        assert await house.agenda() == []
        labels = {"kind": "provisioning", "ending": "parked"}
        assert registry.get_sample_value("tenants_operations_total", labels) == 1

        await house.ask(tenant_id, RetryOperation(operation_id=operation_id))
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.ROLLED_BACK
    assert await house.remains(tenant_id) == set()
    assert (await house.tenant(tenant_id)).status is Status.FAILED


async def test_a_step_that_keeps_failing_is_given_up(house: House):
    faults = Faults(house.effects)
    faults.plan(("before", "send_ready_notice"), *[fail] * 10)
    async with house.working(effects=faults.effects()):
        tenant_id, operation_id = await house.provision()
        operation = await house.finished(operation_id)
    assert operation.status is OperationStatus.ROLLED_BACK
    assert operation.step("notify").attempts == 3
    assert faults.calls[tenant_id, "send_ready_notice"] == 3


async def test_what_nobody_expected_is_recorded_without_what_it_said(
    house: House, capsys: pytest.CaptureFixture[str]
):
    faults = Faults(house.effects)
    faults.plan(("before", "create_bucket"), *[stumble] * 3)
    async with house.working(effects=faults.effects()):
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
    failed = [event for event in await house.facts(tenant_id) if isinstance(event, StepFailed)]
    assert {event.error for event in failed} == {"It failed unexpectedly (RuntimeError)."}
    written = b"".join(event.state for event in await house.history(tenant_id)).decode()
    output = "".join(capsys.readouterr())
    assert "hunter2" not in written + output
    assert "ada@lumen.example" not in output


@pytest.mark.parametrize("effect", ["create_bucket", "create_schema"])
async def test_a_step_that_takes_too_long_has_failed(house: House, effect: str):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", effect), pause)
    async with house.working(effects=faults.effects(), sagas=quickened(limit=0.5)):
        tenant_id, operation_id = await house.provision()
        operation = await house.until(operation_id, lambda state: bool(state.step("create_schema").error))
        assert operation.step("create_schema").error == "It did not end within its time limit."
        await house.finished(operation_id)
    assert pause.cancelled
    assert faults.calls[tenant_id, effect] >= 2


async def test_one_runs_failure_in_a_shared_transaction_harms_no_other(house: House):
    faults = Faults(house.effects)
    faults.plan(("before", "write_defaults"), *[fail] * 5)
    runs = [await house.provision() for _ in range(12)]
    async with house.working(effects=faults.effects(), sagas=quickened(RetryPolicy(max_tries=6, first=0.01))):
        operations = [await house.finished(operation_id) for _, operation_id in runs]
    assert {operation.status for operation in operations} == {OperationStatus.SUCCEEDED}
    for tenant_id, _ in runs:
        assert await house.remains(tenant_id) == EVERYTHING


async def test_a_run_of_an_unknown_kind_is_parked_not_lost(house: House):
    tenant_id, operation_id = await house.provision()
    async with house.working(sagas={}):
        operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.PARKED
        assert "no saga of the kind 'provisioning'" in (operation.parked_reason or "")
        assert await house.agenda() == []
    async with house.working():
        await house.ask(tenant_id, RetryOperation(operation_id=operation_id))
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.SUCCEEDED


async def test_a_run_that_cannot_be_read_is_parked_and_the_others_go_on(house: House):
    tenant_id, operation_id = await house.provision()
    broken = "UPDATE service.events SET topic = 'operation.from_the_future' WHERE originator_id = %s"
    await house.sql(broken, operation_id)
    _, other = await house.provision()
    async with house.working():
        assert (await house.finished(other)).status is OperationStatus.SUCCEEDED
        await house.quiet()
    topics_of = [event.topic for event in await house.history(tenant_id) if event.stream_id == operation_id]
    assert topics_of == ["operation.from_the_future", "operation.parked"]


async def test_an_effect_that_nobody_has_parks_the_run(house: House):
    table = {name: effect for name, effect in house.effects.items() if name != "write_admin"}
    async with house.working(effects=table):
        _, operation_id = await house.provision()
        operation = await house.finished(operation_id)
    assert operation.status is OperationStatus.PARKED
