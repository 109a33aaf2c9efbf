"""The end of a tenant: what is asked, and what follows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.operation.commands import CancelOperation, CompensateOperation
from tenant_domain.operation.events import (
    CompensationStarted,
    OperationParked,
    OperationRetried,
    OperationStarted,
)
from tenant_domain.refusals import (
    InvalidCommand,
    InvalidTransition,
    LegalHold,
    OperationInProgress,
    TenantGone,
)
from tenant_domain.tenant import decide
from tenant_domain.tenant.commands import (
    CancelTermination,
    PlaceLegalHold,
    ReleaseLegalHold,
    Terminate,
    UpdateProfile,
)
from tenant_domain.tenant.events import (
    LegalHoldPlaced,
    LegalHoldReleased,
    Purged,
    PurgeStarted,
    TerminationScheduled,
)
from tenant_domain.values import Status
from tests.support.examples import COMMAND_EXAMPLES, EVENT_EXAMPLES
from tests.support.gwt import NEXT_OPERATION, NOW, given
from tests.support.stories import (
    BEING_MADE,
    BEING_PURGED,
    BEING_TERMINATED,
    CHANGING_PLAN_LATER,
    DELETED,
    FAILED,
    IN_SERVICE,
    SUSPENDED,
    told,
)

END = Terminate(confirm_subdomain="acme")
HOLD = PlaceLegalHold(reason="Case 2026/117 is open.")
HELD = told("tenant.legal_hold_placed")
STOPPED = OperationParked(step="", reason="A legal hold forbids to go on.")
CANCELLED = CompensationStarted(ending="cancelled", reason="The termination was cancelled.")


def scheduled(former: str, days: int = 30) -> tuple[TerminationScheduled, OperationStarted]:
    purge_at = NOW + timedelta(days=days)
    fact = TerminationScheduled(operation_id=str(NEXT_OPERATION), purge_at=purge_at)
    run = OperationStarted(
        operation_id=str(NEXT_OPERATION),
        tenant_id=str(TENANT),
        kind="termination",
        steps=decide.TERMINATION,
        input={"purge_at": purge_at.isoformat(), "former": former},
        started_at=NOW,
    )
    return fact, run


@pytest.mark.parametrize(
    ("before", "former"), [(IN_SERVICE, "active"), (SUSPENDED, "suspended"), (FAILED, "failed")]
)
def test_a_termination_is_scheduled_and_holds_the_tenant(before: Any, former: str):
    facts = given(*before).when(END).then(*scheduled(former), operation_id=NEXT_OPERATION)
    tenant = facts.states[TENANT]
    assert (tenant.status, tenant.operation_id) == (Status.PENDING_DELETION, NEXT_OPERATION)


def test_no_days_to_retain_is_at_once():
    given(*IN_SERVICE).when(Terminate(confirm_subdomain="acme", retain_days=0)).then(
        *scheduled("active", days=0), operation_id=NEXT_OPERATION
    )


def test_whoever_ends_a_tenant_has_to_name_it():
    detail = "must be the tenant's subdomain, to confirm its end"
    given(*IN_SERVICE).when(Terminate(confirm_subdomain="globex")).then_refused(
        InvalidCommand, errors=[{"field": "confirm_subdomain", "detail": detail}]
    )


@pytest.mark.parametrize("before", [BEING_MADE, BEING_TERMINATED, BEING_PURGED])
def test_one_operation_at_a_time_holds_the_tenant(before: Any):
    given(*before).when(END).then_refused(OperationInProgress, operation_id=str(OPERATION))


def test_a_plan_change_that_waits_is_cancelled():
    fact, run = scheduled("active")
    turned = CompensationStarted(ending="cancelled", reason="The tenant is terminated.")
    assert given(*CHANGING_PLAN_LATER).when(END).decision.events[1].event == turned
    assert [new.event for new in given(*CHANGING_PLAN_LATER).when(END).decision.events] == [fact, turned, run]


def test_a_termination_is_cancelled_by_its_operation():
    given(*BEING_TERMINATED).when(CancelTermination()).then(CANCELLED, operation_id=OPERATION)
    given(*BEING_TERMINATED, CANCELLED).when(CancelTermination()).then_nothing(operation_id=OPERATION)


def test_a_cancelled_termination_gives_the_former_status_back():
    before = given(*SUSPENDED).state(TENANT)
    story = (*SUSPENDED, *told("tenant.termination_scheduled"))
    undone = decide.termination_cancelled(OPERATION, Status.SUSPENDED)
    assert given(*story, undone).state(TENANT) == before


@pytest.mark.parametrize(("before", "status"), [(IN_SERVICE, "active"), (BEING_PURGED, "purging")])
def test_there_is_nothing_to_cancel_without_a_termination_or_after_its_purge_began(before: Any, status: str):
    given(*before).when(CancelTermination()).then_refused(
        InvalidTransition, **{"from": status, "command": "cancel_termination"}
    )


@pytest.mark.parametrize("kind", [CancelOperation, CompensateOperation])
def test_no_operator_undoes_a_purge(kind: Any):
    command = kind(operation_id=OPERATION)
    given(*BEING_PURGED).when(command).then_refused(
        InvalidTransition, **{"from": "purging", "command": command.name_}
    )


def test_a_purge_begins_once():
    begun = decide.purge_started(given(*BEING_TERMINATED).state(TENANT), OPERATION)
    assert begun == (PurgeStarted(operation_id=str(OPERATION)),)
    assert decide.purge_started(given(*BEING_TERMINATED, *begun).state(TENANT), OPERATION) == ()


def test_a_purged_tenant_is_deleted_and_nothing_holds_it():
    purged = EVENT_EXAMPLES["tenant.purged"]
    assert isinstance(purged, Purged)
    told_so = decide.purged(OPERATION, purged.certificate_id, purged.certificate_sha256)
    assert told_so == purged
    tenant = given(*DELETED).state(TENANT)
    assert (tenant.status, tenant.operation_id) == (Status.DELETED, None)


@pytest.mark.parametrize("name", sorted(set(COMMAND_EXAMPLES) - {"provision"}))
def test_a_deleted_tenant_is_gone_for_every_command(name: str):
    given(*DELETED).when(COMMAND_EXAMPLES[name]).then_refused(TenantGone)


# legal holds


@pytest.mark.parametrize("before", [IN_SERVICE, SUSPENDED, BEING_MADE])
def test_a_hold_is_placed_and_released(before: Any):
    facts = given(*before).when(HOLD).then(LegalHoldPlaced(reason=HOLD.reason))
    assert facts.states[TENANT].legal_hold == HOLD.reason
    given(*before, *HELD).when(HOLD).then_nothing()
    given(*before, *HELD).when(ReleaseLegalHold()).then(LegalHoldReleased())
    given(*before).when(ReleaseLegalHold()).then_nothing()


def test_a_hold_does_not_keep_the_tenant_from_its_work():
    assert given(*IN_SERVICE, *HELD).when(UpdateProfile(name="Globex")).decision.events


def test_a_hold_forbids_a_termination():
    given(*IN_SERVICE, *HELD).when(END).then_refused(LegalHold)


@pytest.mark.parametrize("before", [BEING_TERMINATED, BEING_PURGED])
def test_a_hold_stops_a_termination_where_it_is_until_it_is_released(before: Any):
    given(*before).when(HOLD).then(LegalHoldPlaced(reason=HOLD.reason), STOPPED)
    stopped = (*before, *HELD, STOPPED)
    given(*stopped).when(ReleaseLegalHold()).then(
        LegalHoldReleased(), OperationRetried(retried_at=NOW), operation_id=OPERATION
    )


def test_a_hold_with_another_reason_is_released_as_well():
    other = LegalHoldPlaced(reason="other")
    given(*BEING_TERMINATED, *HELD, STOPPED).when(PlaceLegalHold(reason="other")).then(other)
    given(*BEING_TERMINATED, *HELD, STOPPED, other).when(ReleaseLegalHold()).then(
        LegalHoldReleased(), OperationRetried(retried_at=NOW), operation_id=OPERATION
    )


def test_a_release_leaves_a_run_alone_that_is_parked_for_something_else():
    broken = (*BEING_TERMINATED, OperationParked(step="cleanup", reason="broken"), *HELD)
    given(*broken).when(HOLD.model_copy(update={"reason": "other"})).then(LegalHoldPlaced(reason="other"))
    given(*broken).when(ReleaseLegalHold()).then(LegalHoldReleased())


def test_a_termination_on_hold_can_still_be_cancelled():
    given(*BEING_TERMINATED, *HELD, STOPPED).when(CancelTermination()).then(CANCELLED, operation_id=OPERATION)
