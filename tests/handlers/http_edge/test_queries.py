"""Queries over HTTP, answered by the real read models."""

from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

from tests.support.edge import Made, at, wish

TENANTS = "/api/v1/tenants"
TENANT = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"


async def provisioned(operator: httpx.AsyncClient, subdomain: str = "acme") -> dict[str, Any]:
    outcome = (await operator.post(TENANTS, json=wish(subdomain))).json()
    return {**outcome, "at": at(outcome["position"])}


async def test_a_tenant_is_read_with_its_version_as_tag(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    answer = await operator.get(f"{TENANTS}/{made['tenant_id']}", params=made["at"])
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"' == '"1"'
    assert answer.json()["subdomain"] == "acme"
    assert answer.json()["position"] >= made["position"]


async def test_a_version_that_the_caller_has_is_not_sent_again(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    path = f"{TENANTS}/{made['tenant_id']}"
    for tags in ('"1"', 'W/"1"', '"0", "1"', "*"):
        answer = await operator.get(path, params=made["at"], headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')


async def test_another_version_is_sent(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    path = f"{TENANTS}/{made['tenant_id']}"
    for tags in ('"2"', "1", "junk", ""):
        answer = await operator.get(path, params=made["at"], headers={"If-None-Match": tags})
        assert answer.status_code == 200


async def test_a_head_request_answers_like_a_get_without_its_body(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    path = f"{TENANTS}/{made['tenant_id']}"
    got = await operator.get(path, params=made["at"])
    head = await operator.head(path)
    assert head.content == b""
    assert head.headers == got.headers


async def test_tenants_are_searched_filtered_and_paged(operator: httpx.AsyncClient) -> None:
    for subdomain in ("one", "two", "three"):
        made = await provisioned(operator, subdomain)
    page = await operator.get(TENANTS, params={**made["at"], "limit": 2, "plan": "basic"})
    assert [tenant["subdomain"] for tenant in page.json()["items"]] == ["one", "two"]
    rest = await operator.get(TENANTS, params={"limit": 2, "cursor": page.json()["next_cursor"]})
    assert [tenant["subdomain"] for tenant in rest.json()["items"]] == ["three"]
    found = await operator.get(TENANTS, params={"search": "TWO"})
    assert [tenant["subdomain"] for tenant in found.json()["items"]] == ["two"]
    assert (await operator.get(TENANTS, params={"status": "active"})).json()["items"] == []


async def test_a_tenant_is_found_by_its_subdomain(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    answer = await operator.get(TENANTS, params={"subdomain": "acme", **made["at"]})
    assert answer.json()["tenant_id"] == made["tenant_id"]
    assert answer.headers["etag"] == '"1"'
    nobody = await operator.get(TENANTS, params={"subdomain": "nobody"})
    assert nobody.json()["type"] == "/problems/tenant-not-found"


async def test_operations_are_listed_and_shown(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    listed = await operator.get(f"{TENANTS}/{made['tenant_id']}/operations", params=made["at"])
    assert [run["operation_id"] for run in listed.json()["items"]] == [made["operation_id"]]
    none = await operator.get(f"{TENANTS}/{made['tenant_id']}/operations", params={"status": "parked"})
    assert none.json()["items"] == []
    other = await operator.get(f"{TENANTS}/{made['tenant_id']}/operations/{uuid4()}")
    assert (other.status_code, other.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize(
    "types",
    [
        "types=tenant.provisioning_started,subdomain.claimed",
        "types=subdomain.claimed&types=tenant.provisioning_started",
    ],
)
async def test_a_list_has_commas_or_is_repeated(operator: httpx.AsyncClient, types: str) -> None:
    made = await provisioned(operator)
    path = f"{TENANTS}/{made['tenant_id']}/history?{types}&{urlencode(made['at'])}"
    facts = (await operator.get(path)).json()["items"]
    assert {fact["type"] for fact in facts} == {"tenant.provisioning_started", "subdomain.claimed"}


async def test_history_is_read_in_a_range(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    path = f"{TENANTS}/{made['tenant_id']}/history"
    facts = (await operator.get(path, params={"from_position": 2, "to_position": 2, **made["at"]})).json()
    assert [fact["position"] for fact in facts["items"]] == [2]


async def test_a_tenant_is_shown_as_it_was(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    tenant = (await active_tenant("acme"))["tenant_id"]
    await operator.put(f"{TENANTS}/{tenant}", json={"name": "Later"})
    then = await operator.get(f"{TENANTS}/{tenant}/as-of", params={"version": 1})
    assert then.json()["name"] == "Acme Rockets"
    created = then.json()["created_at"]
    now = await operator.get(f"{TENANTS}/{tenant}/as-of", params={"at": "2100-01-01T00:00:00Z"})
    assert now.json()["name"] == "Later"
    at_birth = await operator.get(f"{TENANTS}/{tenant}/as-of", params={"at": created})
    assert at_birth.json()["version"] == 1


async def test_a_plus_in_a_time_may_stand_as_it_is(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    answer = await operator.get(f"{TENANTS}/{made['tenant_id']}/as-of?at=2100-01-01T00:00:00+02:00")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("?limit=x", "limit"),
        ("?limit=501", "limit"),
        ("?limit=99999999999999999999999", "limit"),
        ("?nonsense=1", "nonsense"),
        ("?status=flying", "status"),
        ("?min_position=-99999999999999999999", "min_position"),
        ("?subdomain=NO", "subdomain"),
        ("/not-an-id", "tenant_id"),
        (f"/{TENANT}/operations/7", "operation_id"),
        (f"/{TENANT}/queries/outcome", "command_id"),
    ],
)
async def test_a_parameter_that_does_not_fit_is_named(
    refused: httpx.AsyncClient, path: str, field: str
) -> None:
    answer = await refused.get(TENANTS + path)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-query"
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("query", ["?limit=1&limit=2", "?search=%ff", "?" + "&".join("a" * 101)])
async def test_a_query_string_that_is_broken_is_a_bad_request(refused: httpx.AsyncClient, query: str) -> None:
    answer = await refused.get(TENANTS + query)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")


@pytest.mark.parametrize("path", ["/users", "/usage", "/queries/branding", "/queries/fleet.tenants"])
async def test_a_query_that_is_not_there_yet_says_so(refused: httpx.AsyncClient, path: str) -> None:
    answer = await refused.get(f"{TENANTS}/{uuid4()}{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-query")
    memberships = await refused.get(TENANTS, params={"user_id": "ada"})
    assert memberships.json()["type"] == "/problems/unknown-query"


async def test_a_position_that_is_not_reached_is_a_stale_read(operator: httpx.AsyncClient) -> None:
    answer = await operator.get(TENANTS, params={"min_position": 10**15, "timeout_ms": 0})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/stale-read")
    assert int(answer.headers["retry-after"]) >= 1


async def test_queries_over_all_tenants_have_a_tenant_called_fleet(operator: httpx.AsyncClient) -> None:
    made = await provisioned(operator)
    answer = await operator.get(f"{TENANTS}/fleet/queries/history", params={"limit": 1, **made["at"]})
    assert [fact["position"] for fact in answer.json()["items"]] == [1]


async def test_a_path_that_leads_nowhere_is_a_problem_document(refused: httpx.AsyncClient) -> None:
    answer = await refused.get("/api/v2/tenants")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-such-route")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_method_that_a_route_does_not_take_is_told_which_it_takes(
    refused: httpx.AsyncClient,
) -> None:
    answer = await refused.patch(TENANTS)
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_a_route_tells_all_methods_that_it_takes(refused: httpx.AsyncClient) -> None:
    known = {
        TENANTS: "GET, HEAD, OPTIONS, POST",
        f"{TENANTS}/{uuid4()}": "DELETE, GET, HEAD, OPTIONS, PUT",
        f"{TENANTS}/{uuid4()}/suspend": "OPTIONS, POST",
    }
    for path, methods in known.items():
        answer = await refused.options(path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, methods, b"")
