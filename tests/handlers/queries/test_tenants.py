"""Queries about tenants, answered from their read model."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from tenant_domain.refusals import InvalidQuery, StaleRead, TenantGone, TenantNotFound
from tenant_domain.tenant.events import (
    Activated,
    ProfileUpdated,
    ProvisioningFailed,
    StatusReverted,
    Suspended,
)
from tests.support.histories import History
from tests.support.readside import ReadSide

ACTIVATED = Activated(operation_id=str(UUID(int=1)))
FAILED = ProvisioningFailed(operation_id=str(UUID(int=1)), reason="no schema")
SUSPENDED = Suspended(operation_id=str(UUID(int=2)), reason="unpaid")
DELETED = StatusReverted(operation_id=str(UUID(int=2)), status="deleted")


def fleet(history: History) -> dict[str, UUID]:
    """Some tenants of several plans and statuses."""
    ids = {
        "Acme Rockets": history.tenant("Acme Rockets", subdomain="acme", plan="free"),
        "Börse 100%": history.tenant("Börse 100%", subdomain="boerse", plan="enterprise"),
        "Snake_Case": history.tenant("Snake_Case", subdomain="snake", plan="enterprise"),
        "Back\\slash": history.tenant("Back\\slash", subdomain="backslash", plan="free"),
        "SnakeXCase": history.tenant("SnakeXCase", subdomain="acme-west", plan="free"),
    }
    for name in ("Acme Rockets", "Börse 100%", "SnakeXCase"):
        history.add(ids[name], ids[name], ACTIVATED)
    history.add(ids["SnakeXCase"], ids["SnakeXCase"], SUSPENDED)
    history.add(ids["Back\\slash"], ids["Back\\slash"], FAILED)
    return ids


def names(page: Mapping[str, Any]) -> list[str]:
    return [item["name"] for item in page["items"]]


async def test_a_tenant_is_found_by_its_id_with_the_position_it_includes(side: ReadSide) -> None:
    tenant = side.history.tenant("Ada & Søn")
    side.history.add(tenant, tenant, ACTIVATED)
    await side.project()
    answer = await side.ask(tenant, "tenant")
    assert answer["tenant_id"] == str(tenant)
    assert (answer["name"], answer["status"], answer["version"]) == ("Ada & Søn", "active", 2)
    assert answer["position"] == 2
    assert answer["created_at"] <= answer["updated_at"]


async def test_a_tenant_that_never_existed_is_not_found(side: ReadSide) -> None:
    for query, fields in (
        ("tenant", {}),
        ("operations", {}),
        ("operation", {"operation_id": str(uuid4())}),
        ("history", {}),
        ("as_of", {"version": 1}),
    ):
        with pytest.raises(TenantNotFound):
            await side.ask(uuid4(), query, **fields)


async def test_a_deleted_tenant_is_gone_but_its_history_stays(side: ReadSide) -> None:
    tenant = side.history.tenant(subdomain="gone")
    side.history.add(tenant, tenant, DELETED)
    await side.project()
    with pytest.raises(TenantGone):
        await side.ask(tenant, "tenant")
    assert len((await side.ask(tenant, "history"))["items"]) == 2
    assert (await side.ask(tenant, "as_of", version=1))["status"] == "provisioning"
    assert (await side.ask("fleet", "tenants", status="deleted"))["items"][0]["tenant_id"] == str(tenant)


async def test_a_subdomain_leads_to_the_tenant_that_holds_it(side: ReadSide) -> None:
    ids = fleet(side.history)
    await side.project()
    answer = await side.ask("fleet", "by_subdomain", subdomain="boerse")
    assert (answer["tenant_id"], answer["position"]) == (str(ids["Börse 100%"]), await side.store.head())
    for free in ("nobody", "backslash"):  # the failed tenant does not hold it any more
        with pytest.raises(TenantNotFound):
            await side.ask("fleet", "by_subdomain", subdomain=free)
    with pytest.raises(InvalidQuery):
        await side.ask("fleet", "by_subdomain", subdomain="Not A Label")


async def test_a_subdomain_that_moved_on_leads_to_its_new_holder(side: ReadSide) -> None:
    former = side.history.tenant("Former", subdomain="wanted")
    side.history.add(former, former, ProfileUpdated(subdomain="other"))
    holder = side.history.tenant("Holder", subdomain="wanted")
    await side.project()
    assert (await side.ask("fleet", "by_subdomain", subdomain="wanted"))["tenant_id"] == str(holder)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, ["Acme Rockets", "Börse 100%", "Snake_Case", "Back\\slash", "SnakeXCase"]),
        ({"status": "active"}, ["Acme Rockets", "Börse 100%"]),
        ({"plan": "enterprise"}, ["Börse 100%", "Snake_Case"]),
        ({"status": "active", "plan": "enterprise"}, ["Börse 100%"]),
        ({"search": "ACME"}, ["Acme Rockets", "SnakeXCase"]),
        ({"search": "BÖRSE"}, ["Börse 100%"]),
        ({"search": "bo\u0308rse"}, ["Börse 100%"]),
        ({"search": "0%"}, ["Börse 100%"]),
        ({"search": "e_c"}, ["Snake_Case"]),
        ({"search": "k\\s"}, ["Back\\slash"]),
        ({"search": "-west"}, ["SnakeXCase"]),
        ({"search": "s", "status": "failed"}, ["Back\\slash"]),
        ({"search": "nothing at all"}, []),
        ({"plan": "basic"}, []),
    ],
    ids=str,
)
async def test_tenants_are_filtered_and_searched(
    side: ReadSide, fields: dict[str, Any], found: list[str]
) -> None:
    fleet(side.history)
    await side.project()
    page = await side.ask("fleet", "tenants", **fields)
    assert (names(page), page["next_cursor"]) == (found, None)
    assert page["position"] == await side.store.head()


async def test_a_plan_that_is_neither_sold_nor_had_is_refused_with_those_there_are(side: ReadSide) -> None:
    fleet(side.history)
    side.history.tenant("Old", subdomain="old", plan="a former one")
    await side.project()
    assert names(await side.ask("fleet", "tenants", plan="a former one")) == ["Old"]
    assert names(await side.ask("fleet", "tenants", plan="a former one", status="suspended")) == []
    for fields in ({"plan": "gold"}, {"plan": "Free", "status": "active"}):
        with pytest.raises(InvalidQuery, match="basic, enterprise, free, professional") as refused:
            await side.ask("fleet", "tenants", **fields)
        assert [each["field"] for each in refused.value.extra["errors"]] == ["plan"]
    with pytest.raises(StaleRead):  # what is not read yet may have it
        await side.ask("fleet", "tenants", plan="gold", min_position=10_000, timeout_ms=1)


async def test_pages_hold_every_tenant_once_whatever_is_born_or_changed_meanwhile(side: ReadSide) -> None:
    first = [side.history.tenant(f"Tenant {n}", subdomain=f"t-{n}") for n in range(25)]
    await side.project()
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while cursor or not pages:
        page = await side.ask("fleet", "tenants", limit=10, **({"cursor": cursor} if cursor else {}))
        seen += [item["tenant_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        pages += 1
        if pages < 3:
            first.append(side.history.tenant(f"Newcomer {pages}", subdomain=f"n-{pages}"))
            side.history.add(first[0], first[0], ProfileUpdated(tenant_name=f"Renamed {pages}"))
            await side.project()
    assert seen == [str(tenant) for tenant in first]
    assert pages == 3


async def test_a_page_that_is_just_full_has_no_cursor(side: ReadSide) -> None:
    for n in range(3):
        side.history.tenant(subdomain=f"t-{n}")
    await side.project()
    assert (await side.ask("fleet", "tenants", limit=3))["next_cursor"] is None
    assert (await side.ask("fleet", "tenants", limit=2))["next_cursor"] is not None
