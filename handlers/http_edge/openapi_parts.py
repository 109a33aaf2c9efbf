"""The pieces that the OpenAPI document is put together from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, cast

from handlers.http_edge.openapi_components import (
    ANY,
    COMMAND,
    EXAMPLES,
    ID,
    OPERATION,
    POSITION,
    PROBLEM_EXTRAS,
    TENANT,
    Json,
)
from handlers.http_edge.problems import PROBLEM_JSON, PROBLEMS
from projections.questions import Listing, LogQuestion, Question
from tenant_domain.refusals import Refusal


def info(version: str) -> Json:
    """Return what the document is about."""
    return {
        "title": "Tenant service",
        "version": version,
        "summary": "Owns the life of every tenant",
        "description": "The same commands and queries as over NATS, with the same problems. A command is "
        "answered after it is durable: 202 with a `Location` when an operation goes on with it, else 200. "
        "Lists in query parameters are repeated, or have commas.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def ref(schema: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def page_of(item: Json) -> Json:
    """Return the schema of a page of items."""
    return {
        "type": "object",
        "required": ["items", "next_cursor", "position"],
        "properties": {
            "items": {"type": "array", "items": item},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "The next page's `cursor`; null: no more",
            },
            "position": POSITION,
        },
    }


def is_paged(question: Question) -> bool:
    """Return whether a question is answered by pages."""
    return isinstance(question, Listing) or (isinstance(question, LogQuestion) and question.paged)


def parameter(name: str) -> Json:
    """Return a reference to a parameter of the document."""
    return {"$ref": f"#/components/parameters/{name}"}


def header(name: str) -> Json:
    """Return a reference to a response header of the document."""
    return {"$ref": f"#/components/headers/{name}"}


TRACEPARENT = parameter("Traceparent")
TRACE_HEADERS = [parameter("CorrelationId"), parameter("CausationId"), TRACEPARENT]

ANY_FIELDS: Json = {
    "name": "fields",
    "in": "query",
    "description": "The query's own fields, each as a parameter",
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}


def _outcome(description: str, example: Json, headers: Json) -> Json:
    return {
        "description": description,
        "headers": {
            "Command-Id": header("CommandId"),
            "Correlation-Id": header("CorrelationId"),
            **headers,
        },
        "content": {"application/json": {"schema": ref("Outcome"), "example": example}},
    }


_DONE: Json = {
    "command_id": COMMAND,
    "tenant_id": TENANT,
    "status": "completed",
    "version": 7,
    "operation_id": None,
    "result": {},
    "position": 4711,
}
OUTCOME_DONE = _outcome("Done, and durable", _DONE, {})
OUTCOME_RUNNING = _outcome(
    "Begun, and durable; `Location` names the operation that goes on with it",
    {**_DONE, "operation_id": OPERATION},
    {"Location": header("Location")},
)


def body(schema: Json, command: str | None, *, required: bool) -> Json:
    """Return a request body that is a command's fields."""
    content: Json = {"schema": schema}
    if example := EXAMPLES.get(command or ""):
        content["example"] = example
    return {"required": required, "content": {"application/json": content}}


def path_parameter(name: str, commands: Iterable[str]) -> Json:
    """Return the parameter that the path calls `name`."""
    schema: Json = dict(ID) if name.endswith("_id") else {"type": "string"}
    if name == "command_name":
        schema["enum"] = list(commands)
    if name == "tenant_id":
        schema["examples"] = [TENANT]
    return {"name": name, "in": "path", "required": True, "schema": schema}


def query_parameters(fields: Json, without: Collection[str]) -> list[Json]:
    """Return the fields of a query, but those that the path has, as query parameters."""
    required = fields.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "style": "form",
            "explode": False,
            "schema": _flat(schema, fields.get("$defs", {})),
        }
        for name, schema in fields.get("properties", {}).items()
        if name not in without
    ]


def problem_name(status: int) -> str:
    """Return what the response with this status is called."""
    return f"Problem{status}"


def problem_response(status: int) -> Json:
    """Return the response for all problems with this status, an example for each."""
    kinds = [kind for kind in PROBLEMS.values() if kind.status == status]
    response: Json = {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {
            PROBLEM_JSON: {
                "schema": ref("Problem"),
                "examples": {kind.problem: {"value": _problem(kind)} for kind in kinds},
            }
        },
    }
    if status in (429, 503):
        response["headers"] = {"Retry-After": header("RetryAfter")}
    if status == 401:
        response["headers"] = {"WWW-Authenticate": header("Challenge")}
    return response


def open_paths() -> Json:
    """Return the routes that answer without a token."""
    document = ANY
    return {
        "/health": _open("health", "Whether the service and its parts are well", ref("Health"), down=True),
        "/health/live": _open("live", "Whether this process lives", ref("Health")),
        "/health/ready": _open("ready", "Whether to send requests here", ref("Health"), down=True),
        "/metrics": _open("metrics", "Metrics for Prometheus", {"type": "string"}, "text/plain"),
        "/openapi.json": _open("openapi", "This document", document),
        "/asyncapi.json": _open("asyncapi", "The bus's document (AsyncAPI 3)", document),
        "/.well-known/jwks.json": _open(
            "jwks", "The keys that tokens and certificates of deletion are signed with", ref("KeySet")
        ),
        "/problems/{name}": {
            "get": {
                **_open("problem", "What a kind of problem means", ref("ProblemKind"))["get"],
                "parameters": [
                    {
                        "name": "name",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "examples": ["subdomain-taken"]},
                    }
                ],
            }
        },
    }


def with_tenant_id(provision: Json) -> Json:
    """Return the schema of a new tenant's fields with the id that its maker may choose."""
    tenant_id = {**ID, "description": "Lower-case; version 7 is recommended. Never used twice."}
    properties = {"tenant_id": tenant_id, **provision["properties"]}
    return {**provision, "title": "NewTenant", "properties": properties}


def hoisted(schema: Json, into: Json) -> Json:
    """Return `schema` with its definitions moved `into` the document's schemas."""
    moved = _rewritten(schema)
    into.update(moved.pop("$defs", {}))
    return moved


def _open(
    name: str, summary: str, schema: Json, media: str = "application/json", *, down: bool = False
) -> Json:
    responses: Json = {"200": {"description": summary, "content": {media: {"schema": schema}}}}
    if name == "problem":
        responses["200"]["content"]["text/html"] = {"schema": {"type": "string"}}
        responses["404"] = {"$ref": f"#/components/responses/{problem_name(404)}"}
    if down:
        responses["503"] = {**responses["200"], "description": "A part is down"}
    return {
        "get": {
            "operationId": name,
            "tags": ["service"],
            "summary": summary,
            "security": [],
            "responses": responses,
        }
    }


def _problem(kind: type[Refusal]) -> Json:
    return {
        "type": f"/problems/{kind.problem}",
        "title": kind.title,
        "status": kind.status,
        "detail": "A sentence about this very case",
        **PROBLEM_EXTRAS.get(kind.problem, {}),
    }


def _rewritten(value: Any) -> Any:
    match value:
        case {"$ref": str(target), **others}:
            return {"$ref": target.replace("#/$defs/", "#/components/schemas/"), **_rewritten(others)}
        case dict():
            return {key: _rewritten(inner) for key, inner in cast(Json, value).items()}
        case list():
            return [_rewritten(inner) for inner in cast(list[Any], value)]
        case _:
            return value


def _flat(schema: Json, definitions: Json) -> Json:
    """Return a parameter's schema without `null`, which a query string cannot say, and without references."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        real = [part for part in schema["anyOf"] if part.get("type") != "null"]
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return {**rest, **_flat(real[0], definitions)} if len(real) == 1 else {**rest, "anyOf": real}
    return schema
