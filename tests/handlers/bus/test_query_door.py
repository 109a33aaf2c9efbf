"""The door of queries, asked by a plain NATS client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from handlers.bus.queries import QueryDoor
from handlers.projector.role import ProjectionsRole
from handlers.queries import Hearing, Queries
from handlers.wire.subjects import Subjects
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.keys import reading_keyring
from tests.support.readside import ReadSide, somebody_waits
from tests.support.waiting import PATIENCE

NOBODY = "0192e4a0-5b1c-7d3e-8f00-0a1b2c3d4e5f"
"""A tenant id that nobody has."""


@pytest.fixture
def subjects() -> Subjects:
    return Subjects(f"t{uuid4().hex}")


@pytest.fixture
async def nc(nats_url: str) -> AsyncIterator[Client]:
    client = await nats.connect(nats_url)
    yield client
    await client.close()


@pytest.fixture
async def door(side: ReadSide, nats_url: str, subjects: Subjects) -> AsyncIterator[QueryDoor]:
    own = await nats.connect(nats_url)
    opened, hearing = QueryDoor(own, side.queries, subjects), Hearing(own, side.queries, subjects)
    await hearing.start()
    await opened.start()
    yield opened
    await opened.stop()
    await hearing.stop()
    await own.close()


async def ask(nc: Client, subject: str, **fields: Any) -> tuple[Any, dict[str, str]]:
    """The decoded reply to a query, and its headers."""
    reply = await nc.request(subject, msgspec.json.encode(fields) if fields else b"", timeout=PATIENCE)
    return msgspec.json.decode(reply.data), reply.headers or {}


async def test_a_query_is_answered(side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects) -> None:
    tenant = side.history.tenant("Ada")
    await side.project()
    answer, headers = await ask(nc, subjects.query(tenant, "tenant"))
    assert (answer["name"], answer["position"], headers) == ("Ada", 1, {})
    page, _ = await ask(nc, subjects.query("fleet", "tenants"), search="ada")
    assert page["items"][0]["tenant_id"] == str(tenant)


@pytest.mark.parametrize(
    ("tail", "status", "problem"),
    [
        (f"{NOBODY}.tenant", 404, "tenant-not-found"),
        (f"{NOBODY}.no_such", 404, "unknown-query"),
        (f"{NOBODY}.tenant.more", 404, "unknown-query"),
        ("fleet", 404, "unknown-query"),
        ("no-id.tenant", 422, "invalid-query"),
    ],
)
async def test_a_refusal_is_a_problem_with_the_headers_of_a_service_error(
    door: QueryDoor, nc: Client, subjects: Subjects, tail: str, status: int, problem: str
) -> None:
    answer, headers = await ask(nc, subjects.query("", "").removesuffix(".") + tail)
    assert (answer["type"], answer["status"]) == (f"/problems/{problem}", status)
    assert answer["title"]
    assert headers == {"Nats-Service-Error-Code": str(status), "Nats-Service-Error": problem}


async def test_a_query_waits_for_the_position_that_a_hint_names(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    tenant = side.history.tenant()
    head = await side.history.append(side.store)
    query = subjects.query(tenant, "operations")
    asked = asyncio.create_task(ask(nc, query, min_position=head, timeout_ms=20_000))
    await somebody_waits(side.queries)
    await side.project(side.another_projector())
    await nc.publish(subjects.hint("projected"), b"%d" % head)
    answer, _ = await asked
    assert answer["position"] == head


async def test_only_an_inbox_is_answered(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    """A reply to any other subject would be published with the service's rights."""
    tenant = side.history.tenant()
    await side.project()
    got: asyncio.Queue[Msg] = asyncio.Queue()
    await nc.subscribe(f"{subjects.prefix}.events.>", cb=got.put)
    query = subjects.query(tenant, "tenant")
    await nc.publish(query, b"", reply=f"{subjects.prefix}.events.forged")
    await nc.publish(query, b"")
    await ask(nc, query)  # whatever was answered to the ones before has been sent by now
    await nc.flush()
    assert got.empty()
    assert stats(door, "tenant")["num_requests"] == 1


async def test_hints_that_are_none_are_passed_over(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    tenant = side.history.tenant()
    await side.project()
    for body in (b"", b"x", b"-1", "²".encode()):
        await nc.publish(subjects.hint("projected"), body)
    await nc.flush()
    assert (await ask(nc, subjects.query(tenant, "tenant")))[0]["position"] == 1


def stats(door: QueryDoor, name: str) -> dict[str, Any]:
    return next(endpoint.stats() for endpoint in door.endpoints if endpoint.name == name)


async def test_what_comes_through_the_door_is_counted(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    tenant = side.history.tenant()
    await side.project()
    for _ in range(3):
        await ask(nc, subjects.query(tenant, "tenant"))
    await ask(nc, subjects.query(uuid4(), "tenant"))
    counted = stats(door, "tenant")
    assert (counted["num_requests"], counted["num_errors"]) == (4, 1)
    assert counted["last_error"] == "404:tenant-not-found"
    assert counted["average_processing_time"] == counted["processing_time"] // 4 > 0


async def test_a_page_is_never_larger_than_a_message_may_be(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    ids = [str(side.history.tenant(f"T{n}", settings={"blob": "x" * 200_000})) for n in range(8)]
    await side.project()
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page, _ = await ask(nc, subjects.query("fleet", "tenants"), **cursor)
        seen += [item["tenant_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ids


async def test_an_answer_that_no_message_can_hold_is_refused(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    tenant = side.history.tenant(settings={"blob": "x" * 1_100_000})
    await side.project()
    answer, headers = await ask(nc, subjects.query(tenant, "tenant"))
    assert (answer["status"], headers["Nats-Service-Error"]) == (503, "unavailable")


async def test_an_answer_out_of_memory_that_no_message_can_hold_is_refused(
    door: QueryDoor, nc: Client, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(*_: object) -> bytes:
        return b"x" * 1_100_000

    monkeypatch.setattr(Queries, "at_once", kept)
    answer, headers = await ask(nc, subjects.query(uuid4(), "tenant"))
    assert (answer["status"], headers["Nats-Service-Error"]) == (503, "unavailable")


async def test_too_many_at_once_are_refused_with_a_retry_hint(
    side: ReadSide, nats_url: str, nc: Client, subjects: Subjects
) -> None:
    tenant = side.history.tenant()
    await side.project()
    door = QueryDoor(
        nc, Queries(side.connections, reading_keyring(side.connections), concurrency=2), subjects
    )
    await door.start()
    caller = await nats.connect(nats_url)
    replies = await asyncio.gather(*(ask(caller, subjects.query(tenant, "tenant")) for _ in range(200)))
    await caller.close()
    await door.stop()
    refused = [answer for answer, headers in replies if headers]
    assert 0 < len(refused) < 200
    assert {(answer["type"], answer["retry_after"]) for answer in refused} == {("/problems/rate-limited", 1)}


async def test_two_doors_share_the_queries(
    side: ReadSide, door: QueryDoor, nats_url: str, nc: Client, subjects: Subjects
) -> None:
    tenant = side.history.tenant()
    await side.project()
    own = await nats.connect(nats_url)
    other = QueryDoor(own, side.queries, subjects)
    await other.start()
    for _ in range(50):
        await ask(nc, subjects.query(tenant, "tenant"))
    counts = [stats(each, "tenant")["num_requests"] for each in (door, other)]
    await other.stop()
    await own.close()
    assert sum(counts) == 50
    assert min(counts) > 0


async def test_a_tenant_asked_for_again_is_answered_from_memory_as_it_is(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    """With the projector's own hints: every answer is what the log says at the position it names."""
    tenant = side.history.tenant("Name 0")
    role = ProjectionsRole(nc, side.store, side.url, subjects, poll=0.5)
    await role.start()
    try:
        head = await side.history.append(side.store)
        query = subjects.query(tenant, "tenant")
        await ask(nc, query, min_position=head, timeout_ms=20_000)
        for n in range(1, 20):
            side.history.add(tenant, tenant, ProfileUpdated(tenant_name=f"Name {n}"))
            head = await side.history.append(side.store)
            await nc.publish(subjects.hint("committed"), b"%d" % head)
            shown = 0
            while shown < head:
                answer, _ = await ask(nc, query)
                assert answer["position"] >= shown
                shown = answer["position"]
                assert (answer["version"], answer["name"]) == (shown, f"Name {shown - 1}")
        statements = side.connections.fetch
        while (await ask(nc, query))[0]["position"] < head or side.queries.memory.get(str(tenant)) is None:
            await side.ask(tenant, "tenant")
        side.connections.fetch = _no_database  # pyright: ignore[reportAttributeAccessIssue]
        assert (await ask(nc, query))[0]["name"] == "Name 19"
        side.connections.fetch = statements
    finally:
        await role.stop()


async def _no_database(*_: object, **__: object) -> None:
    raise AssertionError("the answer was in memory")


async def test_hints_of_another_version_are_passed_over(
    side: ReadSide, door: QueryDoor, nc: Client, subjects: Subjects
) -> None:
    tenant = side.history.tenant()
    await side.project()
    for body in (b"", b"{}", b"[1]", b'["tenants",1,0,0,"x",[]]'):
        await nc.publish(subjects.hint("moved"), body)
    assert (await ask(nc, subjects.query(tenant, "tenant")))[0]["position"] == 1
