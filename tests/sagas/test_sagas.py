"""The sagas, rehearsed without a world."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sagas.definition import Run, next_action
from sagas.journal import MAX_ERROR, Failure, advance, failed
from sagas.registry import SAGAS
from tenant_domain.catalogue import Policy
from tenant_domain.membership.events import InvitationRevoked, MemberInvited, MemberRemoved
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.events import (
    CompensationStarted,
    OperationCancelled,
    OperationParked,
    OperationRolledBack,
    StepFailed,
)
from tenant_domain.operation.state import OperationStatus, StepStatus
from tenant_domain.subdomain.events import SubdomainReleased
from tenant_domain.tenant import decide
from tenant_domain.tenant.commands import Admin
from tenant_domain.tenant.events import (
    AccessClosed,
    AccessOpened,
    Activated,
    DefaultsConfigured,
    ProvisioningFailed,
    StatusReverted,
)
from tenant_domain.values import Status
from tests.sagas.rehearsal import WISH, Ending, Rehearsal

NAMES = {
    "provisioning": decide.PROVISIONING,
    "suspension": decide.SUSPENSION,
    "resumption": decide.RESUMPTION,
    "upgrade": decide.UPGRADE,
    "termination": decide.TERMINATION,
}
ENDS = {"suspension": Status.SUSPENDED, "termination": Status.DELETED}
"""What a tenant is after a run, where it is not active."""


@pytest.mark.parametrize("kind", SAGAS)
def test_a_saga_has_the_steps_that_its_operation_announces(kind: str):
    assert tuple(step.name for step in SAGAS[kind].steps) == NAMES[kind]


def test_every_kind_of_operation_that_a_command_starts_has_a_saga():
    assert set(SAGAS) == set(NAMES)


@pytest.mark.parametrize("kind", SAGAS)
def test_every_saga_comes_to_a_good_end(kind: str):
    rehearsal = Rehearsal.of(kind)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED
    assert rehearsal.tenant.operation_id is None
    assert rehearsal.tenant.status is ENDS.get(kind, Status.ACTIVE)


def test_a_provisioning_adds_its_facts_in_the_order_of_its_steps():
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.to_the_end()
    facts = [event.name for ref, event in rehearsal.facts.log if ref.entity in ("tenant", "member")]
    assert facts == [
        "tenant.provisioning_started",
        "tenant.defaults_configured",
        "member.joined",
        "tenant.activated",
    ]
    assert rehearsal.deeds == [
        "create_bucket",
        "create_schema",
        "write_defaults",
        "write_admin",
        "send_ready_notice",
    ]


def test_an_admin_without_a_user_id_is_invited_and_the_invitation_revoked_when_it_fails():
    rehearsal = Rehearsal(SAGAS["provisioning"])
    rehearsal.ask(WISH.model_copy(update={"admin": Admin(email="ada@acme.example", name="Ada")}))
    for _ in range(3):
        rehearsal.step()
    assert isinstance(rehearsal.facts.log[-2].event, MemberInvited)
    rehearsal.ask(CancelOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert any(isinstance(event, InvitationRevoked) for _, event in rehearsal.facts.log)


def test_a_failed_provisioning_ends_in_one_append_with_the_subdomain_free():
    rehearsal = Rehearsal.of("provisioning")
    for _ in range(3):
        rehearsal.step()
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    rehearsal.to_the_end()
    operation = rehearsal.operation
    assert operation.status is OperationStatus.ROLLED_BACK
    assert operation.reason == "The step 'notify' failed: The world was against it."
    assert [type(event) for _, event in rehearsal.facts.log[-4:]] == [
        MemberRemoved,
        ProvisioningFailed,
        SubdomainReleased,
        OperationRolledBack,
    ]
    assert rehearsal.tenant.status is Status.FAILED
    assert not rehearsal.present & {"create_bucket", "create_schema"}
    other = Rehearsal(SAGAS["provisioning"], facts=rehearsal.facts)
    other.ask(WISH)
    assert other.tenant.subdomain == "acme"


@pytest.mark.parametrize(
    ("kind", "status"), [("suspension", Status.ACTIVE), ("resumption", Status.SUSPENDED)]
)
def test_an_undone_change_of_access_gives_the_former_status_back(kind: str, status: Status):
    rehearsal = Rehearsal.of(kind)
    rehearsal.step(Ending.FAILS_BEFORE)
    rehearsal.ask(CompensateOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.tenant.status is status
    assert isinstance(rehearsal.facts.log[-2].event, StatusReverted)
    assert rehearsal.tenant.operation_id is None


def test_access_is_closed_and_opened_at_the_end_of_the_sagas():
    for kind, fact in (("suspension", AccessClosed), ("resumption", AccessOpened)):
        rehearsal = Rehearsal.of(kind)
        rehearsal.to_the_end()
        assert isinstance(rehearsal.facts.log[-2].event, fact)


def test_a_suspension_that_cannot_close_access_waits_for_a_person():
    rehearsal = Rehearsal.of("suspension")
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    assert rehearsal.operation.status is OperationStatus.PARKED
    assert rehearsal.tenant.status is Status.SUSPENDED
    assert rehearsal.rests
    rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED


def test_a_provisioning_that_cannot_be_undone_is_parked_with_its_reason_and_goes_on_when_asked():
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.step()
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    assert (
        rehearsal.operation.parked_reason
        == "Undoing the step 'create_schema' failed: The world was against it."
    )
    assert isinstance(rehearsal.journal[-1], OperationParked)
    rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.ROLLED_BACK
    assert rehearsal.operation.reason == "The step 'configure_defaults' failed: The world was against it."


def test_a_step_is_tried_as_often_as_its_policy_says_then_the_run_turns_back():
    rehearsal = Rehearsal.of("provisioning")
    while rehearsal.operation.status is OperationStatus.RUNNING:
        rehearsal.step(Ending.FAILS_BEFORE)
    failures = [event for event in rehearsal.journal if isinstance(event, StepFailed)]
    tries = SAGAS["provisioning"].steps[1].retry.max_tries
    assert [event.step for event in failures] == ["create_schema"] * tries
    waits = [(event.retry_at - event.finished_at).total_seconds() for event in failures if event.retry_at]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert failures[-1].retry_at is None


def test_a_cancelled_run_is_undone_and_ends_as_cancelled():
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.step()
    rehearsal.ask(CancelOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert isinstance(rehearsal.journal[-1], OperationCancelled)
    assert rehearsal.operation.step("create_schema").status is StepStatus.COMPENSATED
    assert rehearsal.present == set()


@pytest.mark.parametrize(
    "change",
    [
        {"plan": "gone"},
        {"region": "the-moon"},
        {"subdomain": "admin"},
        {"subdomain": "somebody-elses"},
        {"name": " "},
    ],
    ids=str,
)
def test_what_cannot_succeed_is_found_before_anything_is_touched(change: dict[str, object]):
    rehearsal = Rehearsal.of("provisioning")
    tenant = rehearsal.tenant
    rehearsal.facts.states[rehearsal.tenant_id] = replace(tenant, **change)
    scene = rehearsal.scene()
    moved = advance(rehearsal.saga, scene._replace(policy=Policy()), rehearsal.now)
    names = [event.name for _, event in moved.events]
    assert names[:2] == ["operation.step_failed", "operation.compensation_started"]
    assert names[-1] == "operation.rolled_back"


def test_an_error_is_kept_short():
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.step()
    action = next_action(rehearsal.saga, rehearsal.operation)
    assert isinstance(action, Run)
    failure = Failure("x" * 10_000, permanent=True)
    (_, told), (_, turned) = failed(rehearsal.scene(), action, failure, rehearsal.now, rehearsal.now, 0.5)
    assert isinstance(told, StepFailed)
    assert isinstance(turned, CompensationStarted)
    assert len(told.error) == len(turned.reason) == MAX_ERROR


def test_facts_name_the_operation_they_come_from():
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.to_the_end()
    facts = [event for _, event in rehearsal.facts.log if isinstance(event, DefaultsConfigured | Activated)]
    assert {fact.operation_id for fact in facts} == {str(rehearsal.operation_id)}
