"""A tenant moves to another plan, or is again what it was: on real servers, whatever fails, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import obstore
import psycopg
import pytest

from handlers.adapters import plan_state
from handlers.adapters.effects import Work
from handlers.adapters.plan_state import PlanState
from handlers.adapters.plans import backup_path
from handlers.adapters.schemas import schema_of
from handlers.saga_runner.worker import Limits
from tenant_domain.catalogue import PLANS
from tenant_domain.operation.commands import CancelOperation, RetryOperation
from tenant_domain.operation.events import StepFailed, StepScheduled
from tenant_domain.operation.state import Operation, OperationStatus
from tenant_domain.tenant.commands import Suspend, Upgrade
from tenant_domain.tenant.decide import period_end
from tenant_domain.tenant.state import Tenant
from tests.handlers.saga_runner.faults import Act, Faults, Pause, Point, fail, fail_for_good, once
from tests.handlers.saga_runner.house import KEY, House, kill, topics
from tests.support.waiting import soon

WHENS: tuple[Literal["before", "after"], ...] = ("before", "after")
CHANGING = ("check_plan_fits", "keep_backup", "apply_plan", "verify_plan")
DOING: list[Point] = [(when, effect) for when in WHENS for effect in (*CHANGING, "release_backup")]
UNDONE: list[Point] = [(when, effect) for when in WHENS for effect in CHANGING]
UNDOING: list[Point] = [(when, effect) for when in WHENS for effect in ("restore_backup", "drop_backup")]
SHORT = Limits(lease=0.5, poll=0.05, grace=0.5)
ONE_EACH = SHORT._replace(concurrency=1)

UP, DOWN = ("professional", "enterprise"), ("enterprise", "professional")


class Moving:
    """A tenant that is to move from a plan to another."""

    def __init__(self, house: House, tenant_id: UUID, plans: tuple[str, str]) -> None:
        self.house, self.tenant_id, self.plans = house, tenant_id, plans
        self.operation_id = tenant_id
        self.before: tuple[Tenant, PlanState] | None = None

    async def stands(self) -> tuple[Tenant, PlanState]:
        """Return the tenant, and its schema to the letter."""
        async with await psycopg.AsyncConnection.connect(self.house.postgres_url) as connection:
            state = await plan_state.read(connection, self.tenant_id)
        return await self.house.tenant(self.tenant_id), state

    async def ask(self, effective: Literal["now", "period_end"] = "now") -> None:
        """Ask for the other plan."""
        self.before = await self.stands()
        command = Upgrade(plan=self.plans[1], effective=effective)
        operation_id = await self.house.ask(self.tenant_id, command)
        assert operation_id is not None
        self.operation_id = operation_id

    async def end(self) -> Operation:
        """Wait until the run has ended, or is parked."""
        return await self.house.finished(self.operation_id)

    async def is_what_it_was(self) -> bool:
        """Return whether tenant and schema are what they were, and no backup is left."""
        return await self.stands() == self.before and not await self.backups()

    async def is_on_the_other_plan(self) -> bool:
        """Return whether tenant and schema are as the other plan says, and no backup is left."""
        plan = PLANS[self.plans[1]]
        tenant, state = await self.stands()
        tables = {thing.table for thing in state.schema} & {"sso_connections", "audit_exports"}
        assert (tenant.plan, tenant.quotas, tenant.flags) == (plan.name, plan.quotas, plan.flags)
        assert (tenant.operation_id, tenant.plan_change) == (None, None)
        assert (state.setting("plan"), state.setting("quotas"), state.setting("flags")) == (
            plan.name,
            plan.quotas,
            plan.flags,
        )
        assert tables == set(state.tables) == set(plan.schema)
        return not await self.backups()

    async def backups(self) -> list[str]:
        """Return what is in the tenant's bucket."""
        bucket = self.house.buckets.open(self.tenant_id)
        return [entry["path"] async for page in obstore.list(bucket) for entry in page]

    async def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Do something in the tenant's schema, as the service."""
        return await self.house.sql(query.replace("{}", schema_of(self.tenant_id)), *values)


async def moving(house: House, *plans: tuple[str, str]) -> list[Moving]:
    """Return tenants in service that are to move between these plans."""
    async with house.working():
        runs = [await house.provision(plan=each[0]) for each in plans]
        for _, operation_id in runs:
            await house.finished(operation_id)
    return [Moving(house, tenant_id, each) for (tenant_id, _), each in zip(runs, plans, strict=True)]


async def asked(house: House, faults: Faults, points: list[Point], act: Act) -> list[Moving]:
    """Return tenants that are asked to move, up and down by turns, and fail once at a point each."""
    tenants = await moving(house, *[(UP, DOWN)[place % 2] for place, _ in enumerate(points)])
    for each, point in zip(tenants, points, strict=True):
        faults.plan(point, *[once(act, point[1])] * 5, tenant_id=each.tenant_id)
        await each.ask()
    return tenants


@pytest.mark.parametrize("plans", [UP, DOWN, ("free", "enterprise"), ("enterprise", "free")])
async def test_a_tenant_moves_to_another_plan(house: House, plans: tuple[str, str]):
    [tenant] = await moving(house, plans)
    await tenant.ask()
    async with house.working():
        operation = await tenant.end()
    assert operation.status is OperationStatus.SUCCEEDED
    assert operation.step("verify").output["differences"] == []
    assert await tenant.is_on_the_other_plan()
    facts = topics(await house.history(tenant.tenant_id), "tenant")
    assert facts[-2:] == ["tenant.plan_change_started", "tenant.plan_changed"]


# failures


async def test_a_step_that_fails_once_is_tried_again(house: House):
    faults = Faults(house.effects)
    tenants = await asked(house, faults, DOING, fail)
    async with house.working(effects=faults.effects()):
        for tenant, point in zip(tenants, DOING, strict=True):
            assert (await tenant.end()).status is OperationStatus.SUCCEEDED, point
            assert await tenant.is_on_the_other_plan(), point
            failed = [fact for fact in await house.facts(tenant.tenant_id) if isinstance(fact, StepFailed)]
            assert [fact.error for fact in failed] == ["The world was against it."], point


async def test_after_a_step_that_fails_for_good_the_tenant_is_what_it_was(house: House):
    faults = Faults(house.effects)
    tenants = await asked(house, faults, UNDONE, fail_for_good)
    async with house.working(effects=faults.effects()):
        for tenant, point in zip(tenants, UNDONE, strict=True):
            assert (await tenant.end()).status is OperationStatus.ROLLED_BACK, point
            assert await tenant.is_what_it_was(), point
            last = topics(await house.history(tenant.tenant_id), "tenant")[-1]
            assert last == "tenant.plan_change_rolled_back", point
        faults.plans.clear()
        for tenant in tenants:
            await tenant.ask()
            assert (await tenant.end()).status is OperationStatus.SUCCEEDED
            assert await tenant.is_on_the_other_plan()


async def test_an_undo_that_fails_once_is_tried_again(house: House):
    faults = Faults(house.effects)
    tenants = await asked(house, faults, UNDOING, fail)
    for tenant in tenants:
        faults.plan(("after", "verify_plan"), *[fail_for_good] * 5, tenant_id=tenant.tenant_id)
    async with house.working(effects=faults.effects()):
        for tenant, point in zip(tenants, UNDOING, strict=True):
            assert (await tenant.end()).status is OperationStatus.ROLLED_BACK, point
            assert await tenant.is_what_it_was(), point


async def test_a_change_that_cannot_be_undone_is_parked_and_goes_on_when_asked(house: House):
    faults = Faults(house.effects)
    [tenant] = await asked(house, faults, [("after", "apply_plan")], fail_for_good)
    faults.plan(("before", "restore_backup"), *[fail] * 3)
    async with house.working(effects=faults.effects()):
        operation = await tenant.end()
        assert operation.status is OperationStatus.PARKED
        assert (await house.tenant(tenant.tenant_id)).operation_id == tenant.operation_id
        await house.ask(tenant.tenant_id, RetryOperation(operation_id=tenant.operation_id))
        operation = await house.until(tenant.operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.ROLLED_BACK
    assert await tenant.is_what_it_was()


async def test_without_its_backup_a_change_is_parked_at_once(house: House):
    [tenant] = await moving(house, UP)

    async def lose(work: Work) -> None:
        await obstore.delete_async(
            house.buckets.open(work.tenant_id), backup_path(work.operation.operation_id)
        )

    faults = Faults(house.effects)
    faults.plan(("after", "keep_backup"), lose)
    await tenant.ask()
    async with house.working(effects=faults.effects()):
        operation = await tenant.end()
    assert operation.status is OperationStatus.PARKED
    assert f"{backup_path(tenant.operation_id)} is not in the tenant's bucket" in (
        operation.parked_reason or ""
    )
    assert (operation.step("verify").attempts, operation.step("apply_changes").tries) == (1, 1)


async def test_what_differs_from_the_plan_turns_the_run_back(house: House):
    """Somebody left a trigger in the schema that puts back the old limits."""
    [tenant] = await moving(house, UP)
    await tenant.sql(
        "CREATE FUNCTION {}.keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF NEW.key = ''quotas'' THEN NEW.value := OLD.value; END IF; RETURN NEW; END'"
    )
    await tenant.sql(
        "CREATE TRIGGER keep BEFORE UPDATE ON {}.settings FOR EACH ROW EXECUTE FUNCTION {}.keep()"
    )
    await tenant.ask()
    async with house.working():
        operation = await tenant.end()
    assert operation.status is OperationStatus.ROLLED_BACK
    assert "quotas.users is 250, not 10000" in operation.step("verify").output["differences"]
    assert "quotas.users is 250, not 10000" in (operation.reason or "")
    assert await tenant.is_what_it_was()


# deaths


async def _killed_at(house: House, faults: list[Faults], tenants: list[Moving], points: list[Point]) -> None:
    """Let a worker for each run die at its point, all at once."""
    pauses = [Pause() for _ in points]
    workers = [house.role(effects=each.effects(), limits=ONE_EACH) for each in faults]
    for worker, each, pause, point in zip(workers, faults, pauses, points, strict=True):
        each.plan(point, pause)
        await worker.start()
    for tenant in tenants:
        await tenant.ask()
    await soon(asyncio.gather(*(pause.reached.wait() for pause in pauses)))
    await asyncio.gather(*(kill(worker) for worker in workers))


async def test_workers_that_die_at_any_step_are_followed_by_one_that_finishes(house: House):
    tenants = await moving(house, *[(UP, DOWN)[place % 2] for place, _ in enumerate(DOING)])
    await _killed_at(house, [Faults(house.effects) for _ in DOING], tenants, DOING)
    async with house.working(limits=SHORT):
        for tenant in tenants:
            assert (await tenant.end()).status is OperationStatus.SUCCEEDED
            assert await tenant.is_on_the_other_plan()


async def test_workers_that_die_while_undoing_are_followed_by_one_that_finishes(house: House):
    tenants = await moving(house, *[(UP, DOWN)[place % 2] for place, _ in enumerate(UNDOING)])
    faults = [Faults(house.effects) for _ in UNDOING]
    for each in faults:
        each.plan(("before", "verify_plan"), *[fail_for_good] * 2)
    await _killed_at(house, faults, tenants, UNDOING)
    async with house.working(limits=SHORT):
        for tenant in tenants:
            assert (await tenant.end()).status is OperationStatus.ROLLED_BACK
            assert await tenant.is_what_it_was()


# what a plan cannot hold


async def test_a_plan_that_cannot_hold_the_tenant_is_refused_with_all_reasons(house: House):
    [tenant] = await moving(house, ("professional", "free"))
    await tenant.sql(
        "INSERT INTO {}.users (id, role, status) SELECT gen_random_uuid(), 'viewer', 'active'"
        " FROM generate_series(1, 6)"
    )
    await tenant.sql(
        "INSERT INTO {}.files (path, size, media_type, sha256) VALUES ('plans.pdf', 2000000000, 'x', '')"
    )
    await tenant.sql("INSERT INTO {}.sso_connections (name, protocol, issuer) VALUES ('a', 'oidc', 'b')")
    await tenant.ask()
    async with house.working():
        operation = await tenant.end()
    assert operation.status is OperationStatus.ROLLED_BACK
    assert operation.step("validate_upgrade").error == (
        "The plan 'free' cannot hold what the tenant has: 7 users (at most 5), "
        "2000000000 bytes of storage (at most 1073741824), 1 rows in sso_connections."
    )
    assert operation.step("backup_state").attempts == 0
    assert await tenant.is_what_it_was()


@pytest.mark.parametrize("effect", ["keep_backup", "apply_plan"])
async def test_what_the_tenant_gets_meanwhile_is_not_lost(house: House, effect: str):
    [tenant] = await moving(house, ("professional", "basic"))
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", effect), pause)
    await tenant.ask()
    async with house.working(effects=faults.effects()):
        await soon(pause.reached.wait())
        await tenant.sql("INSERT INTO {}.sso_connections (name, protocol, issuer) VALUES ('a', 'saml', 'b')")
        pause.released.set()
        operation = await tenant.end()
    assert operation.status is OperationStatus.ROLLED_BACK
    assert "1 rows in sso_connections" in (operation.reason or "")
    assert await tenant.sql("SELECT name FROM {}.sso_connections") == [("a",)]
    assert await tenant.is_what_it_was()


# the tenant goes on


@pytest.fixture
async def door(house: House) -> AsyncIterator[tuple[Moving, psycopg.AsyncConnection[Any]]]:
    """A tenant, and a session of its own role."""
    [tenant] = await moving(house, DOWN)
    parts, role = urlsplit(house.postgres_url), schema_of(tenant.tenant_id)
    login = f"{role}:{KEY.database_password(tenant.tenant_id)}@{parts.hostname}:{parts.port}"
    url = parts._replace(netloc=login).geturl()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET lock_timeout = '100ms'")
        yield tenant, connection


async def test_the_tenant_reads_and_writes_while_its_plan_changes(
    house: House, door: tuple[Moving, psycopg.AsyncConnection[Any]]
):
    tenant, own = door
    faults, pauses = Faults(house.effects), {effect: Pause() for effect in ("apply_plan", "verify_plan")}
    for effect, pause in pauses.items():
        faults.plan(("after", effect), pause)
    await tenant.ask()
    async with house.working(effects=faults.effects()):
        for pause in pauses.values():
            await soon(pause.reached.wait())
            for statement in (
                "INSERT INTO users (id, role, status) VALUES (gen_random_uuid(), 'viewer', 'active')",
                "UPDATE users SET name = 'Grace' WHERE role = 'viewer'",
                "INSERT INTO audit (action) VALUES ('looked')",
                "INSERT INTO sso_connections (name, protocol, issuer) VALUES (now(), 'oidc', 'b')",
                "INSERT INTO files (path, size, media_type, sha256) VALUES (now(), 1, 'x', '')",
                "SELECT * FROM settings, usage, schema_version",
            ):
                await own.execute(statement.encode())
            if pause is pauses["apply_plan"]:
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await own.execute("SELECT * FROM audit_exports")
            pause.released.set()
        assert (await tenant.end()).status is OperationStatus.SUCCEEDED
    assert await tenant.is_on_the_other_plan()
    assert await tenant.sql("SELECT count(*) FROM {}.users") == [(3,)]


async def test_a_table_that_is_in_use_for_long_is_not_waited_for(
    house: House, door: tuple[Moving, psycopg.AsyncConnection[Any]]
):
    tenant, own = door
    await tenant.ask()
    async with house.working():
        async with own.transaction():
            await own.execute("SELECT * FROM audit_exports")
            operation = await house.until(
                tenant.operation_id, lambda state: bool(state.step("apply_changes").error)
            )
            error = "The database refused it (LockNotAvailable, 55P03)."
            assert operation.step("apply_changes").error == error
        await tenant.end()
    assert await tenant.is_what_it_was() or await tenant.is_on_the_other_plan()


# its time


@pytest.mark.usefixtures("mid_month")
async def test_a_change_for_the_periods_end_waits_lets_others_work_and_comes_then(house: House):
    [tenant] = await moving(house, UP)
    then = period_end(house.now())
    await tenant.ask("period_end")
    async with house.working():
        await house.until(tenant.operation_id, lambda state: state.step("backup_state").due_at == then)
        assert await house.agenda() == [(tenant.operation_id, then, None)]
        suspension = await house.ask(tenant.tenant_id, Suspend(reason="unpaid"))
        assert suspension is not None
        assert (await house.finished(suspension)).status is OperationStatus.SUCCEEDED
    await house.sql("UPDATE service.saga_agenda SET due_at = now()")
    async with house.working(now=lambda: then + timedelta(seconds=1)):
        assert (await tenant.end()).status is OperationStatus.SUCCEEDED
    assert await tenant.is_on_the_other_plan()
    facts = topics(await house.history(tenant.tenant_id), "tenant")
    assert facts[-2:] == ["tenant.plan_change_begun", "tenant.plan_changed"]


@pytest.mark.usefixtures("mid_month")
async def test_a_change_that_waits_is_cancelled_and_nothing_has_been(house: House):
    [tenant] = await moving(house, UP)
    await tenant.ask("period_end")
    async with house.working():
        await house.until(tenant.operation_id, lambda state: state.step("backup_state").due_at is not None)
        await house.ask(tenant.tenant_id, CancelOperation(operation_id=tenant.operation_id))
        operation = await house.until(tenant.operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.CANCELLED
    assert await tenant.is_what_it_was()
    scheduled = [fact for fact in await house.facts(tenant.tenant_id) if isinstance(fact, StepScheduled)]
    assert len(scheduled) == 1
