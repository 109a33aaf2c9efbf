"""Refusals: one class, one problem, one status, as the contract's table has them."""

from __future__ import annotations

import pytest

from tenant_domain.refusals import REFUSALS, InvalidCommand, Refusal

CONTRACT = {
    "invalid-command": 422,
    "invalid-query": 422,
    "unknown-command": 404,
    "unknown-query": 404,
    "tenant-not-found": 404,
    "tenant-gone": 410,
    "not-found": 404,
    "unauthenticated": 401,
    "forbidden": 403,
    "subdomain-taken": 409,
    "tenant-exists": 409,
    "invalid-transition": 409,
    "operation-in-progress": 409,
    "legal-hold": 409,
    "version-conflict": 412,
    "command-id-reused": 422,
    "quota-exceeded": 403,
    "rate-limited": 429,
    "stale-read": 503,
    "unavailable": 503,
}
NOT_RECORDED = {
    "unauthenticated",
    "forbidden",
    "unknown-command",
    "unknown-query",
    "invalid-command",
    "invalid-query",
    "command-id-reused",
    "rate-limited",
    "stale-read",
    "unavailable",
}


def test_every_problem_of_the_contract_is_one_class_with_its_status():
    assert {problem: kind.status for problem, kind in REFUSALS.items()} == CONTRACT
    assert len(set(REFUSALS.values())) == len(CONTRACT)


def test_what_is_decided_by_the_tenants_state_is_recorded_and_nothing_else():
    assert {kind.problem for kind in REFUSALS.values() if not kind.recorded} == NOT_RECORDED


@pytest.mark.parametrize("kind", REFUSALS.values())
def test_a_refusal_has_a_title_and_explains_itself(kind: type[Refusal]):
    assert kind.title
    assert kind.__doc__


def test_a_refusal_says_what_and_carries_its_fields():
    refusal = REFUSALS["version-conflict"]("The tenant is at version 7.", version=7)
    assert str(refusal) == refusal.detail == "The tenant is at version 7."
    assert refusal.extra == {"version": 7}


def test_any_name_can_be_a_field_of_a_refusal():
    fields = {"self": 1, "detail": 2, "from": 3}
    assert Refusal("No.", **fields).extra == fields


def test_an_invalid_command_names_the_field():
    refusal = InvalidCommand.of("plan", "must be a string")
    assert refusal.detail == "plan: must be a string"
    assert refusal.extra == {"errors": [{"field": "plan", "detail": "must be a string"}]}
