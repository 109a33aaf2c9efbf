"""Who may do what: every role on every command and query, against a table that is written out here."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest

from projections.registry import QUESTIONS
from tenant_domain.authorisation import (
    OUT_OF_SERVICE,
    Access,
    Authority,
    Caller,
    check,
    check_fields,
    check_reach,
    check_service,
)
from tenant_domain.decision import Event
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.refusals import Forbidden, InvalidTransition, LegalHold, Refusal, TenantNotFound
from tenant_domain.registry import COMMANDS
from tenant_domain.tenant.commands import (
    CancelTermination,
    PlaceLegalHold,
    Resume,
    Suspend,
    Terminate,
)
from tenant_domain.tenant.events import (
    AccessClosed,
    Suspended,
    SuspensionRaised,
    TerminationScheduled,
)
from tenant_domain.values import Status
from tests.support.gwt import NEXT_OPERATION, NOW, given, of
from tests.support.stories import IN_SERVICE, told

OWN = str(TENANT)
CALLERS: Mapping[str, Caller] = {
    "operator": Caller("ops", None, "operator"),
    **{role: Caller("ada", OWN, role) for role in ("owner", "admin", "member", "viewer")},
}
NOBODY = (
    Caller("eve", OWN, "auditor"),
    Caller("eve", OWN, "operator"),
    Caller("eve", OWN, ""),
    Caller("eve", None, "owner"),
)

OPERATOR = "operator"
OWNER = "operator owner"
HEADS = "operator owner admin"
WRITERS = "operator owner admin member"
READERS = "operator owner admin member viewer"

COMMANDED = {
    "provision": OPERATOR,
    "update_profile": WRITERS,
    "upgrade": OWNER,
    "suspend": HEADS,
    "resume": HEADS,
    "terminate": OWNER,
    "cancel_termination": OWNER,
    "place_legal_hold": OPERATOR,
    "release_legal_hold": OPERATOR,
    "cancel_operation": OPERATOR,
    "retry_operation": OPERATOR,
    "compensate_operation": OPERATOR,
    "rerun_operation": OPERATOR,
}
ASKED = {
    (False, "tenant"): READERS,
    (False, "as_of"): READERS,
    (False, "operation"): READERS,
    (False, "operations"): READERS,
    (False, "outcome"): READERS,
    (False, "history"): READERS,
    (False, "export"): HEADS,
    (False, "certificate"): HEADS,
    (True, "tenants"): OPERATOR,
    (True, "by_subdomain"): OPERATOR,
    (True, "operations"): OPERATOR,
    (True, "history"): OPERATOR,
}
WHILE_OUT_OF_SERVICE = {
    "suspend": HEADS,
    "resume": HEADS,
    "terminate": OWNER,
    "cancel_termination": OWNER,
    "tenant": HEADS,
    "operation": HEADS,
    "operations": HEADS,
    "export": HEADS,
    "certificate": HEADS,
}
ACCESS: Mapping[str, Access] = {
    **{name: spec.access for name, spec in COMMANDS.items()},
    **{name: question.access for (fleet, name), question in QUESTIONS.items() if not fleet},
}


def refusal(caller: Caller, tenant: str | None, access: Access, name: str) -> Refusal | None:
    try:
        check(caller, tenant, access, name)
    except Refusal as refused:
        return refused
    return None


def test_the_table_names_every_command_and_every_query() -> None:
    assert set(COMMANDED) == set(COMMANDS)
    assert set(ASKED) == set(QUESTIONS)


@pytest.mark.parametrize(("command", "role"), list(product(COMMANDED, CALLERS)))
def test_a_command_is_for_these_roles_and_no_other(command: str, role: str) -> None:
    refused = refusal(CALLERS[role], OWN, COMMANDS[command].access, command)
    assert (refused is None) == (role in COMMANDED[command].split()), refused
    assert refused is None or (type(refused) is Forbidden and f"the role {role}" in refused.detail)


@pytest.mark.parametrize(("question", "role"), list(product(ASKED, CALLERS)))
def test_a_query_is_for_these_roles_and_no_other(question: tuple[bool, str], role: str) -> None:
    tenant = None if question[0] else OWN
    refused = refusal(CALLERS[role], tenant, QUESTIONS[question].access, question[1])
    assert (refused is None) == (role in ASKED[question].split()), refused
    assert refused is None or type(refused) is Forbidden


@pytest.mark.parametrize("caller", NOBODY, ids=repr)
def test_a_role_that_is_not_known_may_nothing(caller: Caller) -> None:
    for name, access in ACCESS.items():
        assert isinstance(refusal(caller, OWN, access, name), Forbidden | TenantNotFound), name


@pytest.mark.parametrize("role", [role for role in CALLERS if role != "operator"])
def test_another_tenant_is_as_one_that_does_not_exist(role: str) -> None:
    for name, access in ACCESS.items():
        refused = refusal(CALLERS[role], str(OPERATION), access, name)
        assert isinstance(refused, TenantNotFound), name
        assert refused.detail == f"There is no tenant {OPERATION}."
    with pytest.raises(Forbidden):
        check_reach(CALLERS[role], None)


@pytest.mark.parametrize(("name", "role"), list(product(ACCESS, CALLERS)))
@pytest.mark.parametrize("status", list(Status))
def test_a_tenant_out_of_service_hears_its_heads_on_where_it_stands(
    name: str, role: str, status: Status
) -> None:
    allowed = WHILE_OUT_OF_SERVICE.get(name, OPERATOR) if status in OUT_OF_SERVICE else READERS
    if role in allowed.split():
        check_service(CALLERS[role], ACCESS[name], status)
    else:
        with pytest.raises(Forbidden, match=status.value):
            check_service(CALLERS[role], ACCESS[name], status)


@pytest.mark.parametrize("days", [0, 29, 31])
def test_only_an_operator_sets_how_long_data_is_kept(days: int) -> None:
    access = COMMANDS["terminate"].access
    other = Terminate(confirm_subdomain="acme", retain_days=days)
    check_fields(CALLERS["operator"], access, other)
    with pytest.raises(Forbidden, match="retain_days"):
        check_fields(CALLERS["owner"], access, other)
    for usual in (Terminate(confirm_subdomain="acme"), Terminate(confirm_subdomain="acme", retain_days=30)):
        check_fields(CALLERS["owner"], access, usual)


# what one has closed, the same or a higher one opens

RUN = str(OPERATION)
WHY = "The account sends spam."


def suspended(by: Authority) -> tuple[Event, ...]:
    return (*IN_SERVICE, Suspended(operation_id=RUN, reason=WHY, by=by), AccessClosed(operation_id=RUN))


@pytest.mark.parametrize(
    ("closed", "opens", "who"),
    [
        (Authority.TENANT, Authority.TENANT, None),
        (Authority.TENANT, Authority.OPERATOR, None),
        (Authority.TENANT, Authority.SERVICE, None),
        (Authority.OPERATOR, Authority.OPERATOR, None),
        (Authority.OPERATOR, Authority.SERVICE, None),
        (Authority.OPERATOR, Authority.TENANT, "an operator"),
        (Authority.SERVICE, Authority.TENANT, "the service"),
    ],
)
def test_a_suspension_is_ended_by_whoever_may(closed: Authority, opens: Authority, who: str | None) -> None:
    asked = given(*suspended(closed)).when(Resume(), authority=opens)
    if who is None:
        assert asked.decision.operation_id == NEXT_OPERATION
    else:
        asked.then_refused(Forbidden, by=closed.value, reason=WHY)
        assert f"{who} suspended the tenant" in str(asked.refusal)
        assert WHY in str(asked.refusal)


def test_a_suspension_of_before_is_the_services() -> None:
    before = (*IN_SERVICE, *told("tenant.suspended", "tenant.access_closed"))
    asked = given(*before).when(Resume(), authority=Authority.TENANT)
    asked.then_refused(Forbidden, by="service", reason="Invoice 2026-10 is unpaid.")


def test_an_operator_takes_over_what_the_tenant_suspended_itself() -> None:
    again = Suspend(reason=WHY)
    own = suspended(Authority.TENANT)
    given(*own).when(again, authority=Authority.TENANT).then_nothing()
    facts = given(*own).when(again, authority=Authority.OPERATOR)
    raised = SuspensionRaised(reason=WHY, by=Authority.OPERATOR)
    facts.then(raised)
    held = given(*own, raised)
    held.when(Resume(), authority=Authority.TENANT).then_refused(Forbidden, by="operator", reason=WHY)
    held.when(again, authority=Authority.SERVICE).then_nothing()


def test_a_suspended_tenant_does_not_leave_by_terminating_itself() -> None:
    end = Terminate(confirm_subdomain="acme")
    asked = given(*suspended(Authority.OPERATOR)).when(end, authority=Authority.TENANT)
    asked.then_refused(Forbidden, by="operator", reason=WHY)
    assert given(*suspended(Authority.TENANT)).when(end, authority=Authority.TENANT).decision.events


@pytest.mark.parametrize("by", list(Authority))
def test_a_termination_is_cancelled_by_whoever_may(by: Authority) -> None:
    end = Terminate(confirm_subdomain="acme", reason="The contract has ended.")
    ending = given(*IN_SERVICE).when(end, authority=by).decision.events
    scheduled = ending[0].event
    assert isinstance(scheduled, TerminationScheduled)
    assert (scheduled.by, scheduled.purge_at > NOW) == (by, True)
    asked = given(of(TENANT, *IN_SERVICE), ending).when(CancelTermination(), authority=Authority.TENANT)
    if by is Authority.TENANT:
        assert asked.decision.operation_id == NEXT_OPERATION
    else:
        asked.then_refused(Forbidden, by=by.value, reason="The contract has ended.")


def test_a_hold_stops_the_owner_as_anybody() -> None:
    held = given(*IN_SERVICE).when(PlaceLegalHold(reason="Case 26-117")).decision.events
    end = Terminate(confirm_subdomain="acme")
    given(of(TENANT, *IN_SERVICE), held).when(end, authority=Authority.TENANT).then_refused(LegalHold)
    fresh = given(*IN_SERVICE).when(CancelTermination(), authority=Authority.TENANT)
    fresh.then_refused(InvalidTransition, **{"from": "active", "command": "cancel_termination"})
