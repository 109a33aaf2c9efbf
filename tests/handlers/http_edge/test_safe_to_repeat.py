"""What makes a request safe to repeat, or conditional: a key is one tenant, a condition is obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from handlers.http_edge import preconditions
from tenant_domain.authorisation import Caller
from tests.support.edge import Made, wish

TENANTS = "/api/v1/tenants"


def made_by(answers: list[httpx.Response]) -> list[str]:
    return [answer.json()["tenant_id"] for answer in answers if answer.status_code == 202]


async def test_a_key_makes_one_tenant_whatever_id_the_body_gives(operator: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "one"}
    given = {"tenant_id": str(uuid4()), **wish("one")}
    first = await operator.post(TENANTS, json=given, headers=key)
    assert first.status_code == 202
    for other in (
        {**given, "tenant_id": str(uuid4())},
        {**wish("two"), "tenant_id": str(uuid4())},
        wish("one"),
    ):
        again = await operator.post(TENANTS, json=other, headers=key)
        assert again.json()["type"] == "/problems/command-id-reused"
    named = f"{TENANTS}/{uuid4()}/commands/provision"
    assert (await operator.post(named, json=wish("three"), headers=key)).status_code == 422
    same = await operator.post(TENANTS, json=given, headers=key)
    assert same.content == first.content


async def test_a_key_that_made_its_own_tenant_makes_no_other(operator: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "one"}
    first = await operator.post(TENANTS, json=wish("one"), headers=key)
    other = await operator.post(TENANTS, json={"tenant_id": str(uuid4()), **wish("one")}, headers=key)
    assert other.json()["type"] == "/problems/command-id-reused"
    own = {"tenant_id": first.json()["tenant_id"], **wish("one")}
    assert (await operator.post(TENANTS, json=own, headers=key)).content == first.content


async def test_a_refused_provisioning_keeps_its_key_too(operator: httpx.AsyncClient) -> None:
    await operator.post(TENANTS, json=wish("taken"))
    key = {"Idempotency-Key": "late"}
    given = {"tenant_id": str(uuid4()), **wish("taken")}
    first = await operator.post(TENANTS, json=given, headers=key)
    assert first.json()["type"] == "/problems/subdomain-taken"
    assert (await operator.post(TENANTS, json=given, headers=key)).content == first.content
    other = {**wish("free"), "tenant_id": str(uuid4())}
    assert (await operator.post(TENANTS, json=other, headers=key)).status_code == 422


async def test_of_requests_at_once_with_one_key_exactly_one_makes_a_tenant(
    operator: httpx.AsyncClient,
) -> None:
    key = {"Idempotency-Key": "race"}
    bodies: list[dict[str, Any]] = [{"tenant_id": str(uuid4()), **wish(f"race-{n}")} for n in range(8)]
    bodies.append(wish("race-own"))
    answers = await asyncio.gather(*(operator.post(TENANTS, json=body, headers=key) for body in bodies))
    assert len(made_by(answers)) == 1
    assert {answer.status_code for answer in answers} == {202, 422}


async def test_numbers_compare_as_numbers(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    path = f"{TENANTS}/{(await active_tenant('numbers'))['tenant_id']}"

    async def put(number: str, key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        return await operator.put(path, content=f'{{"settings":{{"n":{number}}}}}', headers=headers)

    for n, same in enumerate((("1", "1.0", "1e0"), ("100", "1E2"), ("0", "-0.0", "0e9"), ("1.10", "1.1"))):
        answers = [(await put(number, f"same-{n}")).content for number in same]
        assert len(set(answers)) == 1, (same, answers)
    for n, (one, other) in enumerate(
        (("1", "true"), ("1", '"1"'), ("9007199254740993", "9007199254740992.0"))
    ):
        assert (await put(one, f"other-{n}")).status_code == 200
        assert (await put(other, f"other-{n}")).json()["type"] == "/problems/command-id-reused"


@pytest.mark.parametrize("header", ["Idempotency-Key", "Correlation-Id", "Causation-Id"])
async def test_a_header_that_stands_there_twice_is_refused_by_name(
    refused: httpx.AsyncClient, header: str
) -> None:
    headers = [(header, "a"), (header.lower(), "a")]
    answer = await refused.put(f"{TENANTS}/{uuid4()}", json={"name": "A"}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == header


@pytest.mark.parametrize(
    ("condition", "value", "status"),
    [
        ("If-None-Match", "*", 412),
        ("If-None-Match", '"2"', 412),
        ("If-None-Match", 'W/"2"', 412),
        ("If-None-Match", '"1", "2"', 412),
        ("If-None-Match", '"1"', 200),
        ("If-None-Match", "2", 422),
        ("If-Match", "*", 200),
        ("If-Match", '"2"', 200),
        ("If-Match", '"1","2"', 200),
        ("If-Match", 'W/"2"', 412),
        ("If-Match", '"1"', 412),
    ],
)
async def test_a_write_is_done_where_its_condition_holds(
    operator: httpx.AsyncClient, active_tenant: Made, condition: str, value: str, status: int
) -> None:
    path = f"{TENANTS}/{(await active_tenant('conditional'))['tenant_id']}"
    answer = await operator.put(path, json={"name": "New"}, headers={condition: value})
    assert answer.status_code == status, answer.text
    name = (await operator.get(path)).json()["name"]
    assert (name == "New") == (status == 200)
    if status == 412:
        assert answer.json()["version"] == 2


async def test_what_is_to_be_made_only_where_it_is_not(operator: httpx.AsyncClient) -> None:
    only_new = {"If-None-Match": "*"}
    body = {"tenant_id": str(uuid4()), **wish("new")}
    assert (await operator.post(TENANTS, json=body, headers=only_new)).status_code == 202
    assert (await operator.post(TENANTS, json=body, headers=only_new)).status_code == 412
    gone = await operator.put(f"{TENANTS}/{uuid4()}", json={"name": "A"}, headers=only_new)
    assert gone.status_code == 404


async def test_a_read_honours_if_match(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    path = f"{TENANTS}/{(await active_tenant('read'))['tenant_id']}"
    assert (await operator.get(path, headers={"If-Match": '"2"'})).status_code == 200
    assert (await operator.get(path, headers={"If-Match": '"1"'})).status_code == 412


@pytest.mark.parametrize("condition", ["If-Match", "If-None-Match"])
async def test_many_operations_have_no_version(refused: httpx.AsyncClient, condition: str) -> None:
    path = f"{TENANTS}/fleet/commands/retry_operations"
    answer = await refused.post(path, json={"status": "parked"}, headers={condition: "*"})
    assert answer.json()["errors"][0]["field"] == condition


async def test_a_loop_of_get_and_put_never_meets_its_own_tag(
    operator: httpx.AsyncClient, active_tenant: Made
) -> None:
    path = f"{TENANTS}/{(await active_tenant('loop'))['tenant_id']}"
    for n in range(50):
        tag = (await operator.get(path)).headers["etag"]
        answer = await operator.put(path, json={"name": f"Name {n}"}, headers={"If-Match": tag})
        assert answer.status_code == 200, (n, tag, answer.text)


async def test_every_location_is_found(operator: httpx.AsyncClient) -> None:
    for n in range(30):
        answer = await operator.post(TENANTS, json=wish(f"located-{n}"))
        found = await operator.get(answer.headers["location"])
        assert found.json()["operation_id"] == answer.json()["operation_id"]
        by_name = await operator.get(TENANTS, params={"subdomain": f"located-{n}"})
        assert by_name.json()["tenant_id"] == answer.json()["tenant_id"]


@pytest.mark.parametrize("of", [preconditions.command_id, preconditions.tenant_id])
def test_a_key_is_its_callers_own(of: Callable[[Caller, str], UUID]) -> None:
    """The same person in two tenants is two callers, and so is an operator of that name."""
    one, other, nobodys = str(uuid4()), str(uuid4()), None
    callers = [
        Caller("ada", one, "owner"),
        Caller("ada", other, "owner"),
        Caller("bob", one, "owner"),
        Caller("ada", nobodys, "operator"),
    ]
    assert len({of(caller, "key") for caller in callers}) == len(callers)
    assert of(Caller("ada", one, "admin"), "key") == of(callers[0], "key")
