"""A change of plan, rehearsed without a world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from sagas.journal import MAX_ERROR, WAIT, advance
from tenant_domain.catalogue import PLANS, Policy, Use, leaving, shortfalls
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.events import StepStarted
from tenant_domain.operation.state import OperationStatus, StepStatus
from tenant_domain.refusals import InvalidTransition
from tenant_domain.tenant.commands import Suspend, Terminate, Upgrade
from tenant_domain.tenant.events import PlanChanged, PlanChangeRolledBack
from tenant_domain.values import Status
from tests.sagas.rehearsal import Ending, Rehearsal

DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
LATER = Upgrade(plan="enterprise", effective="period_end")


def later() -> Rehearsal:
    """Return a tenant in service whose plan changes at the period's end."""
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.to_the_end()
    rehearsal.go_on_with("upgrade", LATER)
    return rehearsal


def names(rehearsal: Rehearsal) -> list[str]:
    """Return what became of the run: its events, each with its step, announcements left out."""
    return [
        f"{event.name.removeprefix('operation.')} {getattr(event, 'step', '')}".strip()
        for event in rehearsal.journal
        if not isinstance(event, StepStarted)
    ]


def test_an_upgrade_takes_its_steps_and_gives_what_the_plan_offers():
    rehearsal = Rehearsal.of("upgrade")
    rehearsal.to_the_end()
    assert names(rehearsal) == [
        "started",
        "step_completed validate_upgrade",
        "step_completed backup_state",
        "step_completed apply_changes",
        "step_completed verify",
        "step_completed rollback_if_needed",
        "succeeded",
    ]
    assert rehearsal.deeds[-5:] == [
        "check_plan_fits",
        "keep_backup",
        "apply_plan",
        "verify_plan",
        "release_backup",
    ]
    tenant, plan = rehearsal.tenant, PLANS["enterprise"]
    assert (tenant.plan, tenant.quotas, tenant.flags) == ("enterprise", plan.quotas, plan.flags)
    assert (tenant.operation_id, tenant.plan_change) == (None, None)


def test_what_verification_finds_turns_the_run_back_and_says_why():
    rehearsal = Rehearsal.of("upgrade")
    before = replace(rehearsal.tenant, operation_id=None, plan_change=None)
    rehearsal.outputs["verify_plan"] = {"differences": ["quotas.users is 250, not 10000", "x" * MAX_ERROR]}
    rehearsal.to_the_end()
    assert names(rehearsal)[-5:] == [
        "step_completed rollback_if_needed",
        "compensation_started",
        "step_compensated apply_changes",
        "step_compensated backup_state",
        "rolled_back",
    ]
    assert rehearsal.tenant == before
    rolled_back = rehearsal.facts.log[-2].event
    assert isinstance(rolled_back, PlanChangeRolledBack)
    assert rolled_back.reason.startswith(
        "The tenant differs from its new plan: quotas.users is 250, not 10000"
    )
    assert len(rolled_back.reason) == MAX_ERROR


def test_a_failure_of_the_changes_is_undone_last_one_first():
    rehearsal = Rehearsal.of("upgrade")
    before = replace(rehearsal.tenant, operation_id=None, plan_change=None)
    for _ in range(2):
        rehearsal.step()
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    rehearsal.to_the_end()
    assert rehearsal.deeds[-2:] == ["restore_backup", "drop_backup"]
    assert (rehearsal.tenant, rehearsal.operation.status) == (before, OperationStatus.ROLLED_BACK)


# its time


def test_a_change_for_the_periods_end_is_validated_now_and_made_then():
    rehearsal = later()
    rehearsal.step()
    assert rehearsal.deeds[-1] == "check_plan_fits"
    moved = advance(rehearsal.saga, rehearsal.scene(), rehearsal.now)
    assert moved.waits_until == DECEMBER
    assert rehearsal.tenant.operation_id is None
    rehearsal.to_the_end()
    assert rehearsal.now >= DECEMBER
    tenant_facts = [event.name for ref, event in rehearsal.facts.log if ref.entity == "tenant"]
    assert tenant_facts[-3:] == [
        "tenant.plan_change_started",
        "tenant.plan_change_begun",
        "tenant.plan_changed",
    ]


def test_until_its_time_a_change_is_cancelled_and_nothing_has_been():
    rehearsal = later()
    rehearsal.step()
    before = replace(rehearsal.tenant, plan_change=None)
    rehearsal.ask(CancelOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.now < DECEMBER
    assert (rehearsal.tenant, rehearsal.operation.status) == (before, OperationStatus.CANCELLED)
    assert "keep_backup" not in rehearsal.deeds


def test_a_termination_cancels_a_change_that_waits():
    rehearsal = later()
    rehearsal.step()
    end, termination = Terminate(confirm_subdomain="acme"), uuid4()
    decision = rehearsal.facts.decide(rehearsal.tenant_id, end, termination, rehearsal.now, Policy())
    rehearsal.facts.append(decision.events)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.CANCELLED
    assert (rehearsal.tenant.plan_change, rehearsal.tenant.operation_id) == (None, termination)


@pytest.mark.parametrize("waiting", [True, False], ids=["one that waits", "one that removes its backup"])
def test_a_purge_waits_for_the_end_of_a_plan_change(waiting: bool):
    rehearsal = later() if waiting else Rehearsal.of("upgrade")
    for _ in range(1 if waiting else 4):
        rehearsal.step()
    if not waiting:
        rehearsal.step(Ending.FAILS_BEFORE)
        assert rehearsal.tenant.operation_id is None
    upgrade = rehearsal.saga, rehearsal.operation_id
    rehearsal.go_on_with("termination", Terminate(confirm_subdomain="acme", retain_days=0))
    termination = rehearsal.saga, rehearsal.operation_id
    for _ in range(4):
        rehearsal.step()
    assert rehearsal.deeds[-1] == "preserve_data"
    assert rehearsal.tenant.status is Status.PENDING_DELETION
    rehearsal.saga, rehearsal.operation_id = upgrade
    rehearsal.to_the_end()
    ended = OperationStatus.CANCELLED if waiting else OperationStatus.SUCCEEDED
    assert rehearsal.operation.status is ended
    rehearsal.saga, rehearsal.operation_id = termination
    rehearsal.to_the_end()
    assert rehearsal.tenant.status is Status.DELETED


def test_a_change_whose_time_has_come_waits_for_the_operation_that_holds_the_tenant():
    rehearsal = later()
    rehearsal.step()
    upgrade = rehearsal.saga, rehearsal.operation_id
    rehearsal.go_on_with("suspension", Suspend(reason="unpaid"))
    suspension = rehearsal.saga, rehearsal.operation_id
    rehearsal.now = DECEMBER
    rehearsal.saga, rehearsal.operation_id = upgrade
    for _ in range(2):
        moved = advance(rehearsal.saga, rehearsal.scene(), rehearsal.now)
        assert moved.waits_until == rehearsal.now + WAIT
        rehearsal.step()
    assert "keep_backup" not in rehearsal.deeds
    rehearsal.saga, rehearsal.operation_id = suspension
    rehearsal.to_the_end()
    rehearsal.saga, rehearsal.operation_id = upgrade
    rehearsal.to_the_end()
    assert rehearsal.tenant.plan == "enterprise"


def test_a_plan_that_is_not_sold_any_more_when_its_time_comes_is_not_changed_to():
    rehearsal = later()
    rehearsal.step()
    withdrawn = Policy(plans={**PLANS, "enterprise": replace(PLANS["enterprise"], on_sale=False)})
    scene = rehearsal.scene()._replace(policy=withdrawn)
    moved = advance(rehearsal.saga, scene, DECEMBER + timedelta(seconds=1))
    rehearsal.facts.append(moved.events)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.ROLLED_BACK
    assert "plan on sale" in (rehearsal.operation.step("backup_state").error or "")
    assert "keep_backup" not in rehearsal.deeds


# the point of no return


@pytest.mark.parametrize("command", [CancelOperation, CompensateOperation])
def test_a_plan_that_has_changed_is_not_changed_back_by_an_operator(
    command: type[CancelOperation | CompensateOperation],
):
    rehearsal = Rehearsal.of("upgrade")
    for _ in range(4):
        rehearsal.step()
    rehearsal.step(Ending.CRASHES_AFTER)
    assert rehearsal.tenant.plan == "enterprise"
    assert rehearsal.operation.step("rollback_if_needed").status is StepStatus.RUNNING
    with pytest.raises(InvalidTransition):
        rehearsal.ask(command(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED
    assert sum(isinstance(event, PlanChanged) for _, event in rehearsal.facts.log) == 1


def test_a_backup_that_cannot_be_removed_waits_for_a_person_and_holds_nobody_up():
    rehearsal = Rehearsal.of("upgrade")
    for _ in range(4):
        rehearsal.step()
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    assert rehearsal.operation.status is OperationStatus.PARKED
    assert (rehearsal.tenant.plan, rehearsal.tenant.operation_id) == ("enterprise", None)
    rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED


# what a plan can hold


NOTHING = Use(users=1, storage=0, schema={}, rows={}, own_branding=False)
TWO_CONNECTIONS = replace(NOTHING, schema={"sso_connections": 1}, rows={"sso_connections": 2})


@pytest.mark.parametrize(
    ("plan", "has", "phrases"),
    [
        ("free", replace(NOTHING, users=5, storage=2**30), ()),
        ("free", replace(NOTHING, users=6), ("6 users (at most 5)",)),
        ("free", replace(NOTHING, storage=2**30 + 1), ("1073741825 bytes of storage (at most 1073741824)",)),
        ("basic", replace(NOTHING, schema={"sso_connections": 1}, rows={"sso_connections": 0}), ()),
        (
            "basic",
            TWO_CONNECTIONS,
            ("2 rows in sso_connections",),
        ),
        ("professional", TWO_CONNECTIONS, ()),
        ("basic", replace(NOTHING, own_branding=True), ()),
        (
            "free",
            replace(NOTHING, users=9, own_branding=True),
            ("9 users (at most 5)", "a branding of its own"),
        ),
    ],
)
def test_a_plan_says_all_that_it_cannot_hold(plan: str, has: Use, phrases: tuple[str, ...]):
    assert shortfalls(PLANS[plan], has) == phrases


def test_a_table_goes_when_the_plan_has_none_or_another_version():
    has = {"audit_exports": 1, "sso_connections": 1}
    other = replace(PLANS["professional"], schema={"sso_connections": 2})
    assert leaving(PLANS["professional"], has) == ["audit_exports"]
    assert leaving(other, has) == ["audit_exports", "sso_connections"]
