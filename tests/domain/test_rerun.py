"""Running an operation again: what is asked, and what follows."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.operation.commands import RerunOperation
from tenant_domain.operation.events import OperationStarted
from tenant_domain.operation.state import Operation, StepStatus
from tenant_domain.refusals import (
    InvalidCommand,
    InvalidTransition,
    NotFound,
    OperationInProgress,
    SubdomainTaken,
)
from tenant_domain.subdomain.events import SubdomainClaimed
from tenant_domain.tenant.decide import PROVISIONING
from tenant_domain.tenant.events import OperationRepeated, PlanChangeStarted, ProvisioningRestarted
from tenant_domain.values import Status
from tests.support.examples import EVENT_EXAMPLES
from tests.support.gwt import NEXT_OPERATION, NOW, OTHER_TENANT, given, of
from tests.support.stories import (
    BEING_MADE,
    BEING_SUSPENDED,
    FAILED,
    IN_SERVICE,
    SUSPENDED,
    operation_started,
    told,
)

AGAIN = RerunOperation(operation_id=OPERATION)
FROM_NOTIFY = RerunOperation(operation_id=OPERATION, from_step="notify")
RUN = str(NEXT_OPERATION)


def started(
    kind: str = "provisioning", steps: tuple[str, ...] = PROVISIONING, **fields: Any
) -> OperationStarted:
    return OperationStarted(
        operation_id=RUN,
        tenant_id=str(TENANT),
        kind=kind,
        steps=steps,
        started_at=NOW,
        rerun_of=str(OPERATION),
        **fields,
    )


def test_the_last_steps_of_a_provisioning_are_done_again():
    skipped = ("validate", "create_schema", "configure_defaults", "setup_admin")
    facts = (
        given(*IN_SERVICE)
        .when(FROM_NOTIFY)
        .then(OperationRepeated(operation_id=RUN), started(skipped=skipped), operation_id=NEXT_OPERATION)
    )
    run = facts.states[NEXT_OPERATION]
    assert isinstance(run, Operation)
    assert run.repeats
    assert run.rerun_of == OPERATION
    assert [step.name for step in run.steps if step.status is StepStatus.COMPLETED] == list(skipped)
    assert not any(step.touched for step in run.steps)
    assert facts.states[TENANT].operation_id == NEXT_OPERATION


@pytest.mark.parametrize("step", [None, "validate", "create_schema", "fly"])
def test_nothing_is_repeated_that_could_be_undone(step: str | None):
    detail = "must be one of configure_defaults, setup_admin, notify, activate"
    given(*IN_SERVICE).when(RerunOperation(operation_id=OPERATION, from_step=step)).then_refused(
        InvalidCommand, errors=[{"field": "from_step", "detail": detail}]
    )


def test_access_is_closed_again():
    given(*SUSPENDED).when(AGAIN).then(
        OperationRepeated(operation_id=RUN),
        started("suspension", ("close_access",)),
        operation_id=NEXT_OPERATION,
    )


@pytest.mark.parametrize("before", [BEING_MADE, BEING_SUSPENDED])
def test_what_has_not_ended_is_retried_instead(before: Any):
    given(*before).when(AGAIN).then_refused(
        InvalidTransition, **{"from": "running", "command": "rerun_operation"}
    )


def test_a_tenant_that_another_operation_holds_is_left_alone():
    held = replace(operation_started("suspension", "close_access"), operation_id=str(NEXT_OPERATION))
    taken = replace(EVENT_EXAMPLES["tenant.suspended"], operation_id=str(NEXT_OPERATION))
    given(*IN_SERVICE, taken, held).when(FROM_NOTIFY).then_refused(
        OperationInProgress, operation_id=str(NEXT_OPERATION)
    )


def test_an_operation_that_the_tenant_never_had_is_not_found():
    given(*IN_SERVICE).when(RerunOperation(operation_id=NEXT_OPERATION)).then_refused(
        NotFound, operation_id=str(NEXT_OPERATION)
    )


def test_a_tenant_that_could_not_be_made_is_made_after_all():
    facts = (
        given(*FAILED)
        .when(AGAIN)
        .then(
            ProvisioningRestarted(operation_id=RUN),
            SubdomainClaimed(subdomain="acme", tenant_id=str(TENANT)),
            started(),
            operation_id=NEXT_OPERATION,
        )
    )
    assert facts.states[TENANT].status is Status.PROVISIONING


def test_a_subdomain_that_another_tenant_took_meanwhile_is_refused():
    taken = of(OTHER_TENANT, SubdomainClaimed(subdomain="acme", tenant_id=str(OTHER_TENANT)))
    told_so = [*of(TENANT, *FAILED), *taken]
    given(told_so).when(AGAIN).then_refused(SubdomainTaken, subdomain="acme")


def test_what_was_undone_is_not_begun_in_its_middle():
    given(*FAILED).when(FROM_NOTIFY).then_refused(
        InvalidCommand, errors=[{"field": "from_step", "detail": "must be validate: all of it was undone"}]
    )


def test_a_plan_change_that_was_rolled_back_is_begun_anew():
    run = replace(operation_started("upgrade", "validate_upgrade"), input={"plan": "enterprise"})
    undone = told("tenant.plan_change_rolled_back", "operation.rolled_back")
    decision = given(*IN_SERVICE, *told("tenant.plan_change_started"), run, *undone).when(AGAIN).decision
    fact, begun = (new.event for new in decision.events)
    assert isinstance(fact, PlanChangeStarted)
    assert isinstance(begun, OperationStarted)
    assert (fact.plan, fact.effective, begun.rerun_of) == ("enterprise", "now", str(OPERATION))


def test_a_suspension_that_was_cancelled_is_asked_for_anew():
    undone = told("tenant.status_reverted", "operation.cancelled")
    given(*BEING_SUSPENDED, *undone).when(AGAIN).then_refused(
        InvalidTransition, **{"from": "cancelled", "command": "rerun_operation"}
    )


def test_nothing_of_a_plan_change_that_came_about_is_repeated():
    run = operation_started("upgrade", "validate_upgrade")
    done = told("tenant.plan_changed", "operation.succeeded")
    given(*IN_SERVICE, *told("tenant.plan_change_started"), run, *done).when(AGAIN).then_refused(
        InvalidTransition, **{"from": "succeeded", "command": "rerun_operation"}
    )


def test_a_suspension_is_not_repeated_on_a_tenant_that_is_back():
    resumed = (*SUSPENDED, *told("tenant.resumed", "tenant.access_opened"))
    given(*resumed).when(AGAIN).then_refused(
        InvalidTransition, **{"from": "succeeded", "command": "rerun_operation"}
    )
