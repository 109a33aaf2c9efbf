"""The OpenAPI document, and whether the service does what it says."""

import json
import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from handlers.execution.body import canonical, validated
from handlers.execution.bulk import BULK
from handlers.http_edge.openapi import openapi
from handlers.http_edge.openapi_components import EXAMPLES
from handlers.http_edge.problems import PROBLEMS
from handlers.http_edge.routes import API, EXPORT_PART, OPEN, ROUTES
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from tenant_domain.registry import COMMANDS
from tests.support.edge import Made, at, client, edge

DOCUMENT = openapi()
OPERATIONS = [
    (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
IDS = [f"{method} {path}" for method, path, _ in OPERATIONS]


def resolved(reference: dict[str, Any]) -> dict[str, Any]:
    """The part of the document that `reference` is, or points at."""
    while "$ref" in reference:
        found: Any = DOCUMENT
        for step in reference["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        reference = found
    return reference


def check(instance: Any, schema: dict[str, Any]) -> None:
    """Fail unless `instance` fits a schema of the document."""
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(instance)


def test_the_official_validator_finds_nothing() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_every_route_is_documented_and_no_other() -> None:
    documented = {(method.upper(), path) for method, path, _ in OPERATIONS}
    routes = {(route.method, route.path.replace(":str", "")) for route in ROUTES}
    routes.add(("GET", EXPORT_PART.replace(":str", "").replace(":path", "")))
    routes |= {("POST", f"{API}/fleet/commands/{name}") for name in BULK}
    opened = {("GET", path) for path in (*OPEN, "/problems/{name}")}
    assert documented == routes | opened | {("GET", API), ("POST", API)}


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_only_the_open_routes_need_no_token() -> None:
    free = {path for _, path, operation in OPERATIONS if operation.get("security") == []}
    assert free == {*OPEN, "/problems/{name}"}


def test_every_problem_is_an_example_of_its_status() -> None:
    shown = {
        name: content["value"]["status"]
        for response in DOCUMENT["components"]["responses"].values()
        for name, content in response["content"]["application/problem+json"]["examples"].items()
    }
    assert shown == {name: kind.status for name, kind in PROBLEMS.items()}


def test_every_example_fits_its_schema() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        for content in response["content"].values():
            for example in content["examples"].values():
                check(example["value"], content["schema"])
    for _, _, operation in OPERATIONS:
        for response in operation["responses"].values():
            for content in resolved(response).get("content", {}).values():
                if "example" in content:
                    check(content["example"], content["schema"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_is_taken(name: str) -> None:
    example = EXAMPLES[name]
    check(example, {"$ref": f"#/components/schemas/{name}"})
    validated(COMMANDS[name].form, canonical(json.dumps(example).encode()))


async def test_the_service_answers_as_documented(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    """Calls each operation as the document says, and compares status, headers and body with it."""
    for number, (method, path, operation) in enumerate(OPERATIONS):
        made = {**await active_tenant(f"t{number}"), "subdomain": f"t{number}", "part": "manifest.json"}
        await answered_as_documented(operator, made, method, path, operation)


async def answered_as_documented(
    operator: httpx.AsyncClient, made: dict[str, Any], method: str, path: str, operation: dict[str, Any]
) -> None:
    values = {**made, "name": "forbidden", "command_name": "update_profile", "query_name": "tenant"}
    params: dict[str, Any] = {"version": 1} if path.endswith("/as-of") else {}
    if operation["tags"] == ["queries"]:
        params |= at(made["position"])
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("example")
    if "{command_name}" in path:
        body = {"name": "B"}
    if method == "delete":
        body = {"confirm_subdomain": made["subdomain"]}
    answer = await operator.request(
        method.upper(),
        path.format(**values),
        json=body,
        params=params,
        headers={"Correlation-Id": "a walk through the document"},
    )
    documented = resolved(operation["responses"][str(answer.status_code)])
    media = answer.headers["content-type"].partition(";")[0]
    schema = documented["content"][media]["schema"]
    if "json" in media:
        check(answer.json(), schema)
    for name in documented.get("headers", {}):
        assert name.lower() in answer.headers or (name == "ETag" and "version" not in answer.json())
    available = "Not in this version" not in operation.get("description", "")
    expected = answer.is_success or answer.json()["type"] in STATE
    assert expected == available, (method, path, answer.text)


STATE = ("/problems/invalid-transition", "/problems/not-found")
"""What is said of a tenant that is active, and has neither an export nor a certificate."""


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
async def test_a_stranger_is_refused_as_documented(
    signer: Signer, method: str, path: str, operation: dict[str, Any]
) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError

    target = re.sub(r"{\w+}", "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10", path)
    async with client(edge(Doors(never, never, uuid4, never), signer)) as stranger:
        answer = await stranger.request(method.upper(), target)
    if operation.get("security") == []:
        assert answer.status_code in (200, 404)
    else:
        assert answer.status_code == 401
    assert str(answer.status_code) in operation["responses"]


def test_parameters_of_a_query_have_types() -> None:
    parameters = {
        parameter["name"]: parameter["schema"]
        for parameter in DOCUMENT["paths"][f"{API}/{{tenant_id}}/history"]["get"]["parameters"]
        if "name" in parameter and parameter["in"] == "query"
    }
    assert parameters["limit"]["type"] == "integer"
    assert parameters["types"]["type"] == "array"
    assert parameters["cursor"]["type"] == "string"
