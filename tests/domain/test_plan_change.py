"""A move to another plan: what is asked, and what follows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from tenant_domain.catalogue import PLANS, Policy
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.operation.events import OperationStarted
from tenant_domain.refusals import InvalidCommand, InvalidTransition, OperationInProgress
from tenant_domain.tenant import decide
from tenant_domain.tenant.commands import Suspend, Upgrade
from tenant_domain.tenant.events import PlanChangeBegun, PlanChangeStarted
from tests.support.examples import EVENT_EXAMPLES
from tests.support.gwt import NEXT_OPERATION, NOW, given
from tests.support.stories import (
    BEING_MADE,
    BEING_TERMINATED,
    CHANGING_PLAN_LATER,
    FAILED,
    IN_SERVICE,
    SUSPENDED,
    told,
)

NOW_UP = Upgrade(plan="enterprise")
LATER_UP = Upgrade(plan="enterprise", effective="period_end")
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def started(effective: Any, effective_at: datetime) -> tuple[PlanChangeStarted, OperationStarted]:
    fact = PlanChangeStarted(
        operation_id=str(NEXT_OPERATION),
        from_plan="professional",
        plan="enterprise",
        effective=effective,
        effective_at=effective_at,
    )
    run = OperationStarted(
        operation_id=str(NEXT_OPERATION),
        tenant_id=str(TENANT),
        kind="upgrade",
        steps=decide.UPGRADE,
        input={
            "from_plan": "professional",
            "plan": "enterprise",
            "effective_at": effective_at.isoformat(),
        },
        started_at=NOW,
    )
    return fact, run


@pytest.mark.parametrize("before", [IN_SERVICE, SUSPENDED])
def test_a_change_now_holds_the_tenant(before: Any):
    facts = given(*before).when(NOW_UP).then(*started("now", NOW), operation_id=NEXT_OPERATION)
    assert facts.states[TENANT].operation_id == NEXT_OPERATION


def test_a_change_for_the_periods_end_holds_nobody_up_until_then():
    facts = (
        given(*IN_SERVICE).when(LATER_UP).then(*started("period_end", DECEMBER), operation_id=NEXT_OPERATION)
    )
    tenant = facts.states[TENANT]
    assert tenant.operation_id is None
    assert tenant.plan_change.effective_at == DECEMBER
    given(*CHANGING_PLAN_LATER).when(Suspend(reason="unpaid")).decision  # noqa: B018


def test_the_plan_that_the_tenant_has_is_no_change():
    given(*IN_SERVICE).when(Upgrade(plan="professional")).then_nothing()


def test_the_change_that_waits_already_is_no_second_one():
    given(*CHANGING_PLAN_LATER).when(LATER_UP).then_nothing(operation_id=OPERATION)


@pytest.mark.parametrize("command", [NOW_UP, Upgrade(plan="basic", effective="period_end")])
def test_another_change_has_to_wait_for_the_one_that_waits(command: Upgrade):
    given(*CHANGING_PLAN_LATER).when(command).then_refused(OperationInProgress, operation_id=str(OPERATION))


@pytest.mark.parametrize("plan", ["gold", "legacy"])
def test_a_plan_that_is_not_sold_is_refused(plan: str):
    legacy = Policy(plans={**PLANS, "legacy": replace(PLANS["basic"], name="legacy", on_sale=False)})
    detail = "must be a plan on sale: free, basic, professional, enterprise"
    given(*IN_SERVICE).when(Upgrade(plan=plan), policy=legacy).then_refused(
        InvalidCommand, errors=[{"field": "plan", "detail": detail}]
    )


def test_a_tenant_that_failed_has_no_plan_to_change():
    given(*FAILED).when(NOW_UP).then_refused(InvalidTransition, **{"from": "failed", "command": "upgrade"})


@pytest.mark.parametrize("before", [BEING_MADE, BEING_TERMINATED])
def test_one_operation_at_a_time_holds_the_tenant(before: Any):
    given(*before).when(NOW_UP).then_refused(OperationInProgress, operation_id=str(OPERATION))


def test_a_change_takes_hold_once_when_its_time_has_come():
    waiting = given(*CHANGING_PLAN_LATER).state(TENANT)
    begun = decide.plan_change_begun(waiting, OPERATION)
    assert begun == (PlanChangeBegun(operation_id=str(OPERATION)),)
    holding = given(*CHANGING_PLAN_LATER, *begun).state(TENANT)
    assert holding.operation_id == OPERATION
    assert decide.plan_change_begun(holding, OPERATION) == ()


def test_a_changed_plan_brings_its_quotas_and_flags_and_frees_the_tenant():
    begun = (*CHANGING_PLAN_LATER, *told("tenant.plan_change_begun"))
    changed = decide.plan_changed(given(*begun).state(TENANT), OPERATION, "enterprise", Policy())
    assert changed == EVENT_EXAMPLES["tenant.plan_changed"]
    tenant = given(*begun, changed).state(TENANT)
    assert (tenant.plan, tenant.quotas["users"], tenant.flags["audit_export"]) == ("enterprise", 10_000, True)
    assert (tenant.operation_id, tenant.plan_change) == (None, None)


def test_a_change_that_did_not_come_about_leaves_the_tenant_as_it_was():
    before = given(*IN_SERVICE).state(TENANT)
    undone = decide.plan_change_rolled_back(before, OPERATION, "enterprise", "no")
    assert given(*CHANGING_PLAN_LATER, undone).state(TENANT) == before


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), DECEMBER),
        (DECEMBER, datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_period_is_a_calendar_month(now: datetime, end: datetime):
    assert decide.period_end(now) == end
