"""The read model of tenants: what a fold of facts looks like as a row and as an answer."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest

from projections import tenants
from projections.read_model import Standing
from tenant_domain.decision import Event
from tenant_domain.tenant import events as ten
from tests.support.histories import born

TENANT = UUID("0190c1f2-7a3b-7c4d-8e5f-0a1b2c3d4e5f")
AT = datetime(2026, 11, 23, 9, 30, 0, 123456, tzinfo=UTC)


def stood(*events: Event) -> Standing:
    """Where the stream of TENANT stands after `events`, one of them each second."""
    standing = tenants.MODEL.begin(TENANT, TENANT, 7, AT)
    for version, event in enumerate(events, start=1):
        tenants.MODEL.advance(standing, version, AT + timedelta(seconds=version - 1), event)
    return standing


def column(standing: Standing, name: str) -> object:
    names = [each.name for each in tenants.MODEL.all_columns]
    return dict(zip(names, tenants.MODEL.row(standing), strict=True))[name]


def test_the_answer_has_the_contracts_fields() -> None:
    standing = stood(
        born(metadata={"crm": "7"}, settings={"theme": "dark"}),
        ten.DefaultsConfigured(operation_id=str(TENANT), quotas={"users": 5}, flags={}, branding={}),
        ten.Activated(operation_id=str(TENANT)),
    )
    assert msgspec.json.decode(tenants.body(standing)) == {
        "tenant_id": str(TENANT),
        "name": "Ada & Søn",
        "subdomain": "ada",
        "status": "active",
        "plan": "basic",
        "region": "eu-central",
        "metadata": {"crm": "7"},
        "settings": {"theme": "dark"},
        "quotas": {"users": 5},
        "created_at": "2026-11-23T09:30:00.123456Z",
        "updated_at": "2026-11-23T09:30:02.123456Z",
        "version": 3,
        "operation_id": None,
    }


def test_times_are_shown_in_utc_whatever_zone_the_database_speaks() -> None:
    there = timezone(timedelta(hours=2))
    standing = tenants.MODEL.begin(TENANT, TENANT, 1, AT.astimezone(there))
    tenants.MODEL.advance(standing, 1, AT.astimezone(there), born())
    assert msgspec.json.decode(tenants.body(standing))["created_at"] == "2026-11-23T09:30:00.123456Z"


def test_an_operation_holds_the_tenant_from_its_first_event() -> None:
    assert msgspec.json.decode(tenants.body(stood(born())))["operation_id"] == str(UUID(int=1))


def test_a_failed_tenant_does_not_hold_its_subdomain_any_more() -> None:
    assert column(stood(born()), "held_subdomain") == "ada"
    failed = stood(born(), ten.ProvisioningFailed(operation_id=str(TENANT), reason="no schema"))
    assert column(failed, "held_subdomain") == ""


def test_a_row_leads_back_to_where_the_fold_stood() -> None:
    standing = stood(born(trial_ends_at=AT), ten.Suspended(operation_id=str(TENANT), reason="unpaid"))
    assert tenants.MODEL.standing(tenants.MODEL.row(standing)[:8]) == standing


def test_a_stream_cannot_begin_with_another_fact_than_a_birth() -> None:
    with pytest.raises(ValueError, match=r"cannot begin with tenant\.activated"):
        stood(ten.Activated(operation_id=str(TENANT)))


def test_a_row_is_refused_that_the_database_could_not_hold() -> None:
    with pytest.raises(ValueError, match="NUL"):
        tenants.MODEL.row(stood(born(plan="a\x00b")))


def test_search_is_without_case_and_composes_accents() -> None:
    assert tenants.searchable("CAFÉ Straße") == tenants.searchable("Cafe\u0301 STRASSE")
