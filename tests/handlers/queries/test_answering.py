"""The dispatcher: positions that are waited for, limits, and queries that are none."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deploy.embedded import EmbeddedStack
from handlers.queries import Queries
from handlers.queries.memory import Memory
from handlers.store.connections import Connections
from projections.registry import QUESTIONS
from tenant_domain.refusals import (
    InvalidQuery,
    NotFound,
    RateLimited,
    StaleRead,
    TenantNotFound,
    Unavailable,
    UnknownQuery,
)
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.hanging import hung
from tests.support.keys import reading_keyring
from tests.support.readside import ReadSide, read_side, somebody_waits

PAGES = [("fleet", "tenants"), ("fleet", "operations"), ("tenant", "operations")]

NOBODY = "0192e4a0-5b1c-7d3e-8f00-0a1b2c3d4e5f"
"""A tenant id that nobody has."""


@pytest.mark.parametrize(("scope", "query"), PAGES)
async def test_an_answer_waits_for_the_position_that_it_is_to_include(
    side: ReadSide, scope: str, query: str
) -> None:
    tenant = side.history.tenant()
    await side.project()
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="Newer"))
    head = await side.history.append(side.store)
    who = tenant if scope == "tenant" else scope
    asked = asyncio.create_task(side.ask(who, query, min_position=head, timeout_ms=20_000))
    await somebody_waits(side.queries)
    assert not asked.done()
    await side.project()
    assert (await asked)["position"] == head


async def test_a_position_that_is_not_reached_in_time_is_a_stale_read(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.project()
    for query, fields in (("tenant", {}), ("history", {}), ("operations", {}), ("as_of", {"version": 1})):
        with pytest.raises(StaleRead) as refused:
            await side.ask(tenant, query, min_position=2, timeout_ms=20, **fields)
        assert refused.value.extra["position"] == 1
    assert side.queries.positions.waiting == 0


async def test_a_page_is_waited_for_before_it_is_said_to_be_empty(side: ReadSide) -> None:
    tenant = side.history.tenant()
    head = await side.history.append(side.store)
    assert (await side.ask(tenant, "operations"))["items"] == []
    with pytest.raises(StaleRead):
        await side.ask(tenant, "operations", min_position=head, timeout_ms=0)
    await side.project()
    assert (await side.ask(tenant, "operations", min_position=head))["items"] == []


async def test_a_lost_hint_costs_only_a_look(side: ReadSide) -> None:
    tenant = side.history.tenant()
    head = await side.history.append(side.store)
    deaf = Queries(side.connections, reading_keyring(side.connections))
    body = msgspec.json.encode({"min_position": head, "timeout_ms": 20_000})
    asked = asyncio.create_task(deaf.answer(str(tenant), "operations", body))
    await somebody_waits(deaf)
    await side.project()
    assert msgspec.json.decode(await asked)["position"] == head
    await deaf.close()


@pytest.mark.parametrize(
    ("tenant", "query"),
    [
        ("fleet", "tenant"),
        ("fleet", ""),
        ("fleet", "no_such"),
        (NOBODY, "tenants"),
        (NOBODY, "TENANT"),
    ],
)
async def test_a_query_that_nobody_knows_is_unknown(side: ReadSide, tenant: str, query: str) -> None:
    with pytest.raises(UnknownQuery, match=f"no query .*'{query}'"):
        await side.queries.answer(tenant, query, b"")


@pytest.mark.parametrize(
    "tenant", ["", "Fleet", "7", NOBODY.upper(), NOBODY.replace("-", ""), f"{{{NOBODY}}}"]
)
async def test_a_tenant_id_is_a_lower_case_uuid_with_hyphens(side: ReadSide, tenant: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        await side.queries.answer(tenant, "tenant", b"")
    assert refused.value.extra["errors"][0]["field"] == "tenant_id"


@pytest.mark.parametrize(
    ("query", "fields", "field"),
    [
        ("tenants", {"limit": 501}, "limit"),
        ("tenants", {"limit": 0}, "limit"),
        ("tenants", {"limit": "50"}, "limit"),
        ("tenants", {"limit": True}, "limit"),
        ("tenants", {"status": "dead"}, "status"),
        ("tenants", {"search": ""}, "search"),
        ("tenants", {"search": "a\x00b"}, "search"),
        ("tenants", {"cursor": "nonsense"}, "cursor"),
        ("tenants", {"no_such_field": 1}, "no_such_field"),
        ("tenants", {"min_position": -1}, "min_position"),
        ("tenants", {"min_position": 2**63}, "min_position"),
        ("tenants", {"timeout_ms": 30_001}, "timeout_ms"),
        ("history", {"types": "tenant.activated"}, "types"),
        ("history", {"types": [7]}, "types.0"),
        ("history", {"types": ["activated"]}, "types.0"),
        ("history", {"types": ["tenant.Activated"]}, "types.0"),
        ("by_subdomain", {}, "subdomain"),
    ],
    ids=str,
)
async def test_a_field_that_does_not_fit_is_named(
    side: ReadSide, query: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidQuery) as refused:
        await side.ask("fleet", query, **fields)
    assert [error["field"] for error in refused.value.extra["errors"]] == [field]
    assert refused.value.extra["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"limit":1,"limit":1}', "limit"),
        (b'{"limit":1,"\\u006cimit":2}', "limit"),
        (b'{"search":"a:b","limit":1,"search":"c"}', "search"),
    ],
)
async def test_a_field_that_stands_twice_is_named(side: ReadSide, body: bytes, field: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        await side.queries.answer("fleet", "tenants", body)
    assert [error["field"] for error in refused.value.extra["errors"]] == [field]


@pytest.mark.parametrize("query", ["operations", "history"])
async def test_a_cursor_over_all_tenants_is_none_for_one_tenant_nor_the_other_way(
    side: ReadSide, query: str
) -> None:
    tenant = side.history.tenant()
    for _ in range(2):
        side.history.operation(tenant)
    await side.project()
    for one, other in (("fleet", tenant), (tenant, "fleet")):
        cursor = (await side.ask(one, query, limit=1))["next_cursor"]
        assert (await side.ask(one, query, cursor=cursor))["items"]
        with pytest.raises(InvalidQuery) as refused:
            await side.ask(other, query, cursor=cursor)
        assert [error["field"] for error in refused.value.extra["errors"]] == ["cursor"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"7", b"\xff\xfe", b'{"limit":NaN}', b"[" * 50_000, b" " * 70_000]
)
async def test_a_body_that_is_no_object_is_refused(side: ReadSide, body: bytes) -> None:
    with pytest.raises(InvalidQuery):
        await side.queries.answer("fleet", "tenants", body)


def lenient_json(fields: dict[str, Any]) -> bytes:
    """The fields as Python's own JSON, which has NaN, lone surrogates and endless integers."""
    return json.dumps(fields).encode()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)
FIELDS = (
    "min_position timeout_ms cursor limit status plan search subdomain kind operation_id command_id at"
    " version from_position to_position types"
)
known = st.sampled_from(FIELDS.split())
bodies = (
    st.dictionaries(known | st.text(max_size=8), values, max_size=4).map(lenient_json)
    | st.binary(max_size=40)
    | st.just(b"")
)


questions = st.sampled_from([(fleet, name) for fleet, name in QUESTIONS]) | st.tuples(
    st.booleans(), st.text()
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(question=questions, body=bodies)
@example(question=(True, "tenants"), body=b'{"search":"\\ud800"}')
@example(question=(True, "tenants"), body=b'{"search":"\\u0000"}')
@example(question=(False, "as_of"), body=b'{"at":"0001-01-01T00:00:00+23:59"}')
@example(question=(False, "as_of"), body=b'{"at":"9999-12-31T23:59:59-23:59"}')
@example(question=(True, "history"), body=b'{"from_position":9223372036854775807}')
@example(question=(True, "history"), body=b'{"to_position":1e30}')
async def test_whatever_comes_in_is_answered_or_refused(
    side: ReadSide, question: tuple[bool, str], body: bytes
) -> None:
    fleet, name = question
    if not side.history.facts:
        side.history.operation(side.history.tenant())
        await side.project()
    tenant = "fleet" if fleet else str(next(iter(side.history.facts)))
    try:
        position = msgspec.json.decode(await side.queries.answer(tenant, name, body))["position"]
    except (InvalidQuery, UnknownQuery, NotFound, TenantNotFound, StaleRead):
        position = 1
    assert position >= 1


async def test_too_many_queries_at_once_are_told_to_come_back(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.project()
    queries = Queries(side.connections, reading_keyring(side.connections), concurrency=5)
    results = await asyncio.gather(
        *(queries.answer(str(tenant), "tenant") for _ in range(20)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, RateLimited)]
    assert len(refused) == 15
    assert refused[0].extra["retry_after"] == 1
    assert await queries.answer(str(tenant), "tenant")


async def test_too_many_waiting_queries_are_told_to_come_back(side: ReadSide) -> None:
    queries = Queries(side.connections, reading_keyring(side.connections), waiting=2)
    body = b'{"min_position":9,"timeout_ms":50}'
    results = await asyncio.gather(
        *(queries.answer("fleet", "tenants", body) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["RateLimited"] * 3 + ["StaleRead"] * 2
    await queries.close()


async def test_a_lone_question_waits_for_nobody_and_many_share_a_statement(side: ReadSide) -> None:
    ids = [side.history.tenant(f"Tenant {n}") for n in range(50)]
    await side.project()
    fetched: list[int] = []
    fetch = side.connections.fetch

    async def counted(*args: Any, **kwargs: Any) -> Any:
        rows = await fetch(*args, **kwargs)
        fetched.append(len(rows))
        return rows

    side.connections.fetch = counted  # pyright: ignore[reportAttributeAccessIssue]
    answers = await asyncio.gather(*(side.ask(tenant, "tenant") for tenant in (*ids, *ids)))
    assert [answer["tenant_id"] for answer in answers] == [str(tenant) for tenant in (*ids, *ids)]
    assert len(fetched) <= 3


async def test_without_a_read_model_queries_are_unavailable(side: ReadSide) -> None:
    await side.execute("UPDATE service.projections SET live = false")
    with pytest.raises(Unavailable):
        await side.ask("fleet", "tenants")
    await side.execute("UPDATE service.projections SET live = true, revision = 999")
    with pytest.raises(Unavailable):
        await side.ask(uuid4(), "tenant")


async def test_without_a_database_queries_are_unavailable() -> None:
    nowhere = Connections(
        "postgresql://nobody@127.0.0.1:1/none",
        readers=1,
        statement_timeout=1,
        lock_timeout=1,
        idle_timeout=1,
        pool_timeout=0.1,
    )
    await nowhere.open()
    try:
        with pytest.raises(Unavailable) as refused:
            await Queries(nowhere, reading_keyring(nowhere)).answer("fleet", "tenants", b"")
        assert refused.value.extra["retry_after"] == 1
    finally:
        await nowhere.close()


async def test_while_the_database_hangs_queries_are_unavailable_and_later_answered(
    own_stack: EmbeddedStack,
) -> None:
    async with read_side(own_stack.endpoints.postgres_url) as side:
        queries = Queries(side.connections, reading_keyring(side.connections), unavailable_after=0.3)
        asked = [("fleet", "tenants"), (NOBODY, "tenant"), (NOBODY, "history"), (NOBODY, "operations")]
        async with hung(own_stack) as server:
            refused = await server.sooner(
                asyncio.gather(*(queries.answer(*each) for each in asked), return_exceptions=True)
            )
            assert [type(each) for each in refused[0]] == [Unavailable] * len(asked)
        with pytest.raises(TenantNotFound):
            await queries.answer(NOBODY, "tenant")
        await queries.close()


async def test_a_tenant_that_was_looked_up_before_is_answered_without_the_database(side: ReadSide) -> None:
    side.queries = Queries(
        side.connections, reading_keyring(side.connections), memory=Memory(clock=lambda: 0.0)
    )
    tenant = side.history.tenant()
    await side.project()
    read = await side.ask(tenant, "tenant")
    await side.connections.close()
    assert await side.ask(tenant, "tenant") == read
    assert await side.ask(tenant, "tenant", min_position=1) == read
    with pytest.raises(Unavailable):
        await side.ask(tenant, "tenant", min_position=2)
