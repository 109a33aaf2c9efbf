"""Queries about operations, answered from their read model."""

from uuid import uuid4

import pytest

from tenant_domain.operation.events import OperationParked, OperationSucceeded
from tenant_domain.refusals import InvalidQuery, NotFound, TenantNotFound
from tests.support.histories import later
from tests.support.readside import ReadSide


async def test_an_operation_is_found_by_its_tenant_and_id(side: ReadSide) -> None:
    tenant = side.history.tenant()
    operation = side.history.operation(tenant)
    side.history.add(tenant, operation, OperationSucceeded(finished_at=later(5)))
    await side.project()
    answer = await side.ask(tenant, "operation", operation_id=str(operation))
    assert (answer["operation_id"], answer["tenant_id"]) == (str(operation), str(tenant))
    assert (answer["kind"], answer["status"]) == ("provisioning", "succeeded")
    assert answer["finished_at"] == "2026-11-23T12:05:00Z"
    assert [step["name"] for step in answer["steps"]] == ["validate", "create_schema", "activate"]
    assert answer["position"] == 3


async def test_an_operation_of_another_tenant_is_not_found(side: ReadSide) -> None:
    mine, other = side.history.tenant(subdomain="a"), side.history.tenant(subdomain="b")
    operation = side.history.operation(other)
    await side.project()
    for asked in (operation, uuid4()):
        with pytest.raises(NotFound) as refused:
            await side.ask(mine, "operation", operation_id=str(asked))
        assert refused.value.extra["operation_id"] == str(asked)


async def test_operations_are_those_of_the_tenant_oldest_first(side: ReadSide) -> None:
    mine, other = side.history.tenant(subdomain="a"), side.history.tenant(subdomain="b")
    ids = [side.history.operation(mine, kind) for kind in ("provisioning", "suspension", "resumption")]
    side.history.operation(other)
    side.history.add(mine, ids[1], OperationParked(step="close_access", reason="needs a person"))
    await side.project()

    async def found(**fields: str) -> list[str]:
        page = await side.ask(mine, "operations", **fields)
        return [item["operation_id"] for item in page["items"]]

    assert await found() == [str(each) for each in ids]
    assert await found(kind="suspension") == [str(ids[1])]
    assert await found(status="parked") == [str(ids[1])]
    assert await found(status="running", kind="suspension") == []
    assert len((await side.ask("fleet", "operations"))["items"]) == 4
    assert len((await side.ask("fleet", "operations", status="running"))["items"]) == 3


async def test_a_kind_that_no_operation_can_have_is_refused_with_those_there_are(side: ReadSide) -> None:
    mine, other = side.history.tenant(subdomain="a"), side.history.tenant(subdomain="b")
    side.history.operation(other, "a newer one")
    await side.project()
    assert (await side.ask(mine, "operations", kind="upgrade"))["items"] == []
    assert (await side.ask(mine, "operations", kind="a newer one"))["items"] == []
    for asked in (mine, "fleet"):
        with pytest.raises(InvalidQuery, match="provisioning, resumption, suspension, termination, upgrade"):
            await side.ask(asked, "operations", kind="provisionning")
    with pytest.raises(TenantNotFound):
        await side.ask(uuid4(), "operations", kind="provisionning")


async def test_a_tenant_without_operations_has_an_empty_page(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.project()
    assert await side.ask(tenant, "operations") == {"items": [], "next_cursor": None, "position": 1}


async def test_cursors_of_operations_lead_through_all_of_them(side: ReadSide) -> None:
    tenant = side.history.tenant()
    ids = [str(side.history.operation(tenant)) for _ in range(7)]
    await side.project()
    seen: list[str] = []
    page = await side.ask(tenant, "operations", limit=3)
    while True:
        seen += [item["operation_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        ids.append(str(side.history.operation(tenant))) if len(ids) < 9 else None
        await side.project()
        page = await side.ask(tenant, "operations", limit=3, cursor=page["next_cursor"])
    assert seen == ids
