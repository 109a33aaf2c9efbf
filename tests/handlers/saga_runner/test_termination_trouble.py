"""The end of a tenant in trouble: effects fail, workers die or sleep, also while it is brought back."""

from __future__ import annotations

import json
from typing import Any, Literal
from uuid import UUID

import pytest
from msgspec.structs import replace

from handlers.adapters.erasure import Erased, Erasure
from handlers.adapters.exports.sources import Source
from handlers.saga_runner.worker import Limits
from tenant_domain.operation.commands import RetryOperation
from tenant_domain.operation.events import StepFailed
from tenant_domain.operation.state import OperationStatus
from tenant_domain.tenant.commands import CancelTermination
from tests.handlers.saga_runner.ending import (
    certificate,
    check_by_hand,
    fetched,
    living,
    preserved,
    state_of,
    terminate,
)
from tests.handlers.saga_runner.faults import Faults, Pause, Point, fail, fail_for_good
from tests.handlers.saga_runner.house import House, kill
from tests.handlers.saga_runner.test_crashes import SHORT, completed_once
from tests.support.waiting import soon

WHENS: tuple[Literal["before", "after"], ...] = ("before", "after")
EFFECTS = ("withdraw_access", "preserve_data", "remove_belongings", "purge_schema", "delete_securely")
POINTS: list[Point] = [(when, effect) for effect in EFFECTS for when in WHENS]
REVERSIBLE: list[Point] = [(when, effect) for effect in ("restore_access", "drop_export") for when in WHENS]


async def test_a_failure_before_or_after_any_effect_is_tried_again(house: House):
    faults = Faults(house.effects)
    async with house.working(effects=faults.effects()):
        for point in POINTS:
            tenant_id = await living(house)
            faults.plan(point, fail, tenant_id=tenant_id)
            operation_id = await terminate(house, tenant_id)
            operation = await house.finished(operation_id)
            assert operation.status is OperationStatus.SUCCEEDED, point
            assert await house.remains(tenant_id) == set(), point
            failed = [fact for fact in await house.facts(tenant_id) if isinstance(fact, StepFailed)]
            assert len(failed) == 1, point
            said = json.loads(await certificate(house, tenant_id))["certificate"]
            assert said["export"]["parts"] > 10, point


async def test_what_a_second_look_finds_is_not_certified(house: House, monkeypatch: pytest.MonkeyPatch):
    erase, looks = Erasure.erase, list[Erased]()

    async def erased(erasure: Erasure, tenant_id: UUID) -> Erased:
        found = await erase(erasure, tenant_id)
        looks.append(found)
        first, *others = found.stores
        return replace(found, stores=[replace(first, verified=len(looks) > 1), *others])

    monkeypatch.setattr(Erasure, "erase", erased)
    async with house.working():
        tenant_id = await living(house)
        operation = await house.finished(await terminate(house, tenant_id))

    assert operation.status is OperationStatus.SUCCEEDED
    [failed] = [fact for fact in await house.facts(tenant_id) if isinstance(fact, StepFailed)]
    assert "A second look found what should be gone: data keys" in failed.error


async def test_a_step_that_fails_for_good_parks_the_run_and_an_operator_lets_it_go_on(house: House):
    faults = Faults(house.effects)
    async with house.working(effects=faults.effects()):
        for effect in EFFECTS:
            tenant_id = await living(house)
            faults.plan(("before", effect), *[fail_for_good] * 2, tenant_id=tenant_id)
            operation_id = await terminate(house, tenant_id)
            operation = await house.finished(operation_id)
            assert operation.status is OperationStatus.PARKED, effect
            assert "The world will always be against it." in (operation.parked_reason or ""), effect
            faults.plans.clear()
            await house.ask(tenant_id, RetryOperation(operation_id=operation_id))
            operation = await house.until(operation_id, lambda state: state.finished)
            assert operation.status is OperationStatus.SUCCEEDED, effect
            assert await house.remains(tenant_id) == set(), effect


async def test_a_worker_that_dies_at_any_point_is_followed_by_another_that_finishes(house: House):
    for point in POINTS:
        async with house.working(limits=SHORT):
            tenant_id = await living(house)
        faults, pause = Faults(house.effects), Pause()
        faults.plan(point, pause)
        doomed = house.role(effects=faults.effects(), limits=SHORT)
        await doomed.start()
        operation_id = await terminate(house, tenant_id)
        await soon(pause.reached.wait())
        await kill(doomed)
        async with house.working(limits=SHORT):
            operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.SUCCEEDED, point
        assert await house.remains(tenant_id) == set(), point
        await completed_once(house, tenant_id)
        check_by_hand(await certificate(house, tenant_id))


async def test_a_worker_that_dies_while_bringing_it_back_is_followed_by_another(house: House):
    for point in REVERSIBLE:
        async with house.working(limits=SHORT):
            tenant_id = await living(house)
            before = await state_of(house, tenant_id)
            operation_id = await terminate(house, tenant_id, retain_days=30)
            await preserved(house, operation_id)
        faults, pause = Faults(house.effects), Pause()
        faults.plan(point, pause)
        doomed = house.role(effects=faults.effects(), limits=SHORT)
        await doomed.start()
        await house.ask(tenant_id, CancelTermination())
        await soon(pause.reached.wait())
        await kill(doomed)
        async with house.working(limits=SHORT):
            operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.CANCELLED, point
        assert await state_of(house, tenant_id) == before, point


async def test_an_export_goes_on_from_the_parts_that_stand(house: House, monkeypatch: pytest.MonkeyPatch):
    written: list[str] = []
    keep = type(house.shelf).keep

    async def dying(self: Any, tenant: UUID, operation: UUID, source: Source) -> Any:
        if source.path == "database/3-constraints.sql" and not written.count("died"):
            written.append("died")
            raise RuntimeError
        chunks = source.chunks

        def noted() -> Any:
            written.append(source.path)
            return chunks()

        return await keep(self, tenant, operation, source._replace(chunks=noted))

    async with house.working():
        tenant_id = await living(house)
        monkeypatch.setattr(type(house.shelf), "keep", dying)
        operation_id = await terminate(house, tenant_id, retain_days=30)
        spoiled = house.objects / f"x-{tenant_id.hex}" / str(operation_id) / "database" / "2-users.sql"
        await house.until(operation_id, lambda state: "died" in written)
        spoiled.write_bytes(b"rubbish")
        await preserved(house, operation_id)
        content = await fetched(house, tenant_id, "database/2-users.sql")
    again = written[written.index("died") :]
    assert "database/1-schema.sql" in written
    assert "database/1-schema.sql" not in again
    assert "database/audit.parquet" in again
    assert content.startswith(b"INSERT INTO")


async def test_an_export_that_is_written_after_the_end_is_taken_back(house: House):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", "preserve_data"), pause)
    async with house.working():
        tenant_id = await living(house)
    zombie = house.role(effects=faults.effects(), limits=Limits(1, lease=1000.0, grace=30.0), look=1000.0)
    await zombie.start()
    operation_id = await terminate(house, tenant_id)
    await soon(pause.reached.wait())
    async with house.working():
        await house.sql("UPDATE service.saga_agenda SET owner = NULL")
        assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED
        pause.released.set()
        await zombie.stop()
    assert faults.calls[tenant_id, "preserve_data"] == 1
    assert await house.remains(tenant_id) == set()
    assert await house.sql("SELECT 1 FROM service.exports") == []
