"""What the client asks, and how it follows an operation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import pytest
from nats.aio.msg import Msg

from handlers.client import Fact, NoAnswer, Operation, Step, Tenant
from handlers.client.link import MOST_REMEMBERED, Written
from projections.history import HistoryItem
from projections.operations import OperationView, StepView
from projections.tenants import TenantView
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.refusals import NotFound, StaleRead, TenantNotFound, Unavailable
from tests.handlers.client.service import answer_of, client_of, done, happen, make_events, serving
from tests.support.bus import Bus
from tests.support.examples import EVENT_EXAMPLES
from tests.support.stories import operation_started
from tests.support.waiting import PATIENCE

T = TypeVar("T")

TENANT_ANSWER: dict[str, Any] = {
    "tenant_id": str(TENANT),
    "name": "Acme",
    "subdomain": "acme",
    "status": "active",
    "plan": "basic",
    "region": "eu-central",
    "metadata": {"crm_id": "7"},
    "settings": {"mfa": {"required": True}},
    "quotas": {"users": 25},
    "created_at": "2026-11-23T09:00:00Z",
    "updated_at": "2026-11-23T09:00:01Z",
    "version": 3,
    "operation_id": None,
    "a_field_of_tomorrow": 1,
}
STEP = {
    "name": "validate",
    "status": "completed",
    "attempts": 1,
    "started_at": "2026-11-23T09:00:00Z",
    "finished_at": None,
    "error": None,
}


def operation_answer(status: str, operation_id: UUID = OPERATION) -> dict[str, Any]:
    return {
        "operation_id": str(operation_id),
        "tenant_id": str(TENANT),
        "kind": "provisioning",
        "status": status,
        "steps": [STEP],
        "started_at": "2026-11-23T09:00:00Z",
        "finished_at": None,
        "reason": None,
    }


async def all_of(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Tenant, TenantView), (Operation, OperationView), (Step, StepView), (Fact, HistoryItem)],
)
def test_the_client_reads_all_that_the_service_answers(
    ours: type[msgspec.Struct], theirs: type[msgspec.Struct]
):
    assert set(theirs.__struct_fields__) - set(ours.__struct_fields__) == set()
    assert set(ours.__struct_fields__) - set(theirs.__struct_fields__) <= {"position"}


async def test_any_query_can_be_asked(bus: Bus):
    async with serving(bus, bus.subjects.query(TENANT, "flags"), [answer_of(sso=True)]) as asked:
        answer = await client_of(bus).query(TENANT, "flags", flag="sso", min_position=7)
    assert answer == {"position": 4711, "sso": True}
    assert json.loads(asked[0].data) == {"flag": "sso", "min_position": 7}


async def test_a_tenant_is_read(bus: Bus):
    async with serving(bus, bus.subjects.query(TENANT, "tenant"), [answer_of(**TENANT_ANSWER)]) as asked:
        tenant = await client_of(bus).tenant(str(TENANT), min_position=12)
    assert (tenant.tenant_id, tenant.status, tenant.position) == (TENANT, "active", 4711)
    assert tenant.created_at == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    assert json.loads(asked[0].data) == {"min_position": 12}


async def test_a_tenant_is_found_by_its_subdomain(bus: Bus):
    async with serving(
        bus, bus.subjects.query("fleet", "by_subdomain"), [answer_of(**TENANT_ANSWER)]
    ) as asked:
        assert (await client_of(bus).by_subdomain("acme")).tenant_id == TENANT
    assert json.loads(asked[0].data) == {"subdomain": "acme"}


async def test_a_tenant_is_read_as_it_was(bus: Bus):
    at = datetime(2026, 11, 23, 10, 0, tzinfo=timezone(timedelta(hours=1)))
    answers = [answer_of(**TENANT_ANSWER)] * 2
    async with serving(bus, bus.subjects.query(TENANT, "as_of"), answers) as asked:
        await client_of(bus).as_of(TENANT, at=at)
        await client_of(bus).as_of(TENANT, version=2)
    assert [json.loads(query.data) for query in asked] == [
        {"at": "2026-11-23T10:00:00+01:00"},
        {"version": 2},
    ]


async def test_an_outcome_is_looked_up(bus: Bus):
    command_id = uuid4()
    answers = [done(version=9), TenantNotFound("No such tenant.")]
    async with serving(bus, bus.subjects.query(TENANT, "outcome"), answers):
        outcome = await client_of(bus).outcome(TENANT, str(command_id))
        assert (outcome.command_id, outcome.version) == (command_id, 9)
        with pytest.raises(TenantNotFound):
            await client_of(bus).outcome(TENANT, command_id)


async def test_a_recorded_refusal_is_raised(bus: Bus):
    recorded = {"command_id": str(uuid4()), "tenant_id": str(TENANT), "status": "rejected"}
    problem = {"type": "/problems/tenant-not-found", "title": "…", "status": 404, "detail": "No such tenant."}
    async with serving(bus, bus.subjects.query(TENANT, "outcome"), [answer_of(**recorded, error=problem)]):
        with pytest.raises(TenantNotFound, match="No such tenant"):
            await client_of(bus).outcome(TENANT, uuid4())


async def test_pages_are_read_to_the_end(bus: Bus):
    pages = {
        None: answer_of(items=[TENANT_ANSWER] * 2, next_cursor="b"),
        "b": answer_of(items=[TENANT_ANSWER] * 2, next_cursor="c"),
        "c": answer_of(items=[TENANT_ANSWER], next_cursor=None),
    }

    def page(query: Msg) -> bytes:
        return pages[json.loads(query.data).get("cursor")]

    async with serving(bus, bus.subjects.query("fleet", "tenants"), page) as asked:
        tenants = await all_of(client_of(bus).fleet_tenants(status="active", search="ac"))
    assert [tenant.subdomain for tenant in tenants] == ["acme"] * 5
    assert json.loads(asked[1].data) == {"status": "active", "search": "ac", "cursor": "b"}


async def test_operations_and_facts_are_listed(bus: Bus):
    fact = {
        "position": 7,
        "tenant_id": str(TENANT),
        "version": 1,
        "type": "tenant.activated",
        "time": "2026-11-23T09:00:00Z",
        "data": {"operation_id": str(OPERATION)},
        "actor": None,
        "correlation_id": None,
    }
    page = answer_of(items=[operation_answer("running")], next_cursor=None)
    async with (
        serving(bus, bus.subjects.query(TENANT, "operations"), [page]),
        serving(bus, bus.subjects.query("fleet", "operations"), [page]),
        serving(
            bus, bus.subjects.query(TENANT, "history"), [answer_of(items=[fact], next_cursor=None)]
        ) as asked,
    ):
        client = client_of(bus)
        (operation,) = await all_of(client.operations(TENANT, kind="provisioning"))
        assert (operation.operation_id, operation.steps[0].name) == (OPERATION, "validate")
        assert await all_of(client.operations(None)) == [operation]
        (told,) = await all_of(client.history(TENANT, from_position=3, types={"tenant.activated"}))
    assert (told.position, told.data) == (7, {"operation_id": str(OPERATION)})
    assert json.loads(asked[0].data) == {"from_position": 3, "types": ["tenant.activated"]}


async def test_a_read_that_is_too_old_is_not_repeated(bus: Bus):
    async with serving(bus, bus.subjects.query(TENANT, "tenant"), [StaleRead("Late.", position=3)]) as asked:
        with pytest.raises(StaleRead) as late:
            await client_of(bus).tenant(TENANT, min_position=7)
    assert (late.value.extra["position"], len(asked)) == (3, 1)


async def test_a_read_is_repeated_until_it_is_answered(bus: Bus):
    answers = [None, Unavailable("Down.", retry_after=0), answer_of(**TENANT_ANSWER)]
    async with serving(bus, bus.subjects.query(TENANT, "tenant"), answers) as asked:
        await client_of(bus, attempt=0.5).tenant(TENANT)
    assert len(asked) == 3


# operations


async def test_an_operation_is_followed_by_its_events(bus: Bus):
    await make_events(bus)
    position = 0
    heard = asyncio.Event()

    def look(query: Msg) -> bytes:
        heard.set()
        asked = json.loads(query.data)["min_position"]
        return answer_of(**operation_answer("succeeded" if asked == 2 else "running"))

    async with serving(bus, bus.subjects.query(TENANT, "operation"), look) as asked:
        following = asyncio.create_task(
            client_of(bus).wait_for_operation(TENANT, OPERATION, timeout=PATIENCE)
        )
        await heard.wait()
        await happen(bus, TENANT, operation_started("provisioning"), first=position + 1)
        await happen(bus, TENANT, EVENT_EXAMPLES["operation.succeeded"], first=position + 2)
        assert (await following).status == "succeeded"
    assert json.loads(asked[-1].data) == {"operation_id": str(OPERATION), "min_position": 2}


@pytest.mark.parametrize("status", ["succeeded", "rolled_back", "cancelled", "parked"])
async def test_it_is_followed_to_its_end_or_to_where_a_person_is_needed(bus: Bus, status: str):
    looks = [answer_of(**operation_answer("running")), answer_of(**operation_answer(status))]
    async with serving(bus, bus.subjects.query(TENANT, "operation"), looks):
        operation = await client_of(bus).wait_for_operation(TENANT, OPERATION)
    assert operation.status == status
    assert operation.ended == (status != "parked")


async def test_a_read_model_that_is_behind_or_down_is_waited_for(bus: Bus):
    looks = [
        NotFound("Unknown."),
        StaleRead("Late.", position=1),
        TenantNotFound("Unknown."),
        answer_of(**operation_answer("succeeded")),
    ]
    async with serving(bus, bus.subjects.query(TENANT, "operation"), looks):
        assert (await client_of(bus).wait_for_operation(TENANT, OPERATION)).ended


async def test_an_operation_that_is_none_is_not_found(bus: Bus):
    async with serving(bus, bus.subjects.query(TENANT, "operation"), lambda _: NotFound("Unknown.")):
        with pytest.raises(NotFound):
            await client_of(bus).wait_for_operation(TENANT, OPERATION)


async def test_one_that_takes_too_long_goes_on_without_us(bus: Bus):
    def look(_: Msg) -> bytes:
        return answer_of(**operation_answer("running"))

    async with serving(bus, bus.subjects.query(TENANT, "operation"), look):
        with pytest.raises(NoAnswer, match="goes on by itself"):
            await client_of(bus).wait_for_operation(TENANT, OPERATION, timeout=0.3)


async def test_an_outcome_follows_its_operation(bus: Bus):
    def answer(command: Msg) -> bytes:
        return done(command, position=40, operation_id=OPERATION)

    async with (
        serving(bus, bus.subjects.rpc(TENANT, "*"), answer),
        serving(
            bus, bus.subjects.query(TENANT, "operation"), [answer_of(**operation_answer("succeeded"))]
        ) as asked,
    ):
        outcome = await client_of(bus).resume(TENANT)
        operation = await outcome.operation(timeout=PATIENCE)
    assert operation is not None
    assert operation.ended
    assert json.loads(asked[0].data)["min_position"] == 40


async def test_an_outcome_without_one_has_nothing_to_follow(bus: Bus):
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), lambda command: done(command)):
        assert await (await client_of(bus).resume(TENANT)).operation() is None


async def test_an_operation_is_read(bus: Bus):
    answers = [answer_of(**operation_answer("running"))]
    async with serving(bus, bus.subjects.query(TENANT, "operation"), answers) as asked:
        operation = await client_of(bus).operation(TENANT, OPERATION, min_position=4)
    assert (operation.status, operation.ended) == ("running", False)
    assert json.loads(asked[0].data) == {"operation_id": str(OPERATION), "min_position": 4}


async def test_what_the_client_wrote_is_in_what_it_reads(bus: Bus) -> None:
    other = uuid4()
    async with (
        serving(bus, bus.subjects.rpc("*", ">"), lambda request: done(request, position=4711)),
        serving(bus, bus.subjects.query("*", ">"), lambda _: answer_of(**TENANT_ANSWER)) as asked,
    ):
        client = client_of(bus)
        await client.tenant(TENANT)
        await client.update_profile(TENANT, name="Acme")
        await client.tenant(TENANT)
        await client.tenant(other)
        await client.query(None, "tenants")
        await client.tenant(TENANT, min_position=5)
    positions = [json.loads(each.data).get("min_position") for each in asked]
    assert positions == [None, 4711, None, 4711, 5]


async def test_a_page_that_is_long_in_coming_is_given_as_it_is(bus: Bus) -> None:
    stale = StaleRead("Position 4711 was not reached in time.", position=1)
    page = answer_of(items=[], next_cursor=None)
    async with (
        serving(bus, bus.subjects.rpc("*", ">"), lambda request: done(request, position=4711)),
        serving(bus, bus.subjects.query("fleet", "tenants"), [stale, page]) as asked,
    ):
        client = client_of(bus)
        await client.update_profile(TENANT, name="Acme")
        assert [each async for each in client.fleet_tenants()] == []
    assert len(asked) == 2


def test_a_client_remembers_its_writes_within_bounds() -> None:
    written = Written()
    first = uuid4()
    written.note(first, 7)
    for position in range(8, 8 + MOST_REMEMBERED):
        written.note(uuid4(), position)
    assert written.position(first) == 7  # forgotten, so of all that are
    assert written.position(None) == 7 + MOST_REMEMBERED
