"""The OpenAPI 3.1 document, made from the tables that the app is made from: routes, commands, queries, problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from handlers.http_edge import openapi_parts as parts
from handlers.http_edge.openapi_parts import Json
from handlers.http_edge.problems import PROBLEMS
from handlers.http_edge.routes import API, FLEET_QUERIES, ROUTES, Route
from handlers.wire.subjects import FLEET
from tenant_domain.registry import COMMANDS

VERSION = "1"
"""Of the contract. A published name or field never changes its meaning; new ones may be added."""

_COMMAND_REFUSALS = (400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 415, 422, 429, 500, 503, 504)
_QUERY_REFUSALS = (400, 401, 403, 404, 405, 410, 422, 429, 500, 503, 504)


class QuerySchemas(NamedTuple):
    """JSON Schemas of a query: of its own fields, and of its answer."""

    fields: Json
    answer: Json


def openapi(queries: Mapping[str, QuerySchemas]) -> Json:
    """Return the document. `queries` are by name, those over all tenants as `fleet.…`."""
    schemas = dict(parts.SCHEMAS)
    for name, spec in COMMANDS.items():
        schemas[name] = parts.hoisted(spec.form.model_json_schema(), schemas)
    for name, query in queries.items():
        schemas[f"{name}.answer"] = parts.hoisted(query.answer, schemas)
    return {
        "openapi": "3.1.0",
        "info": parts.info(VERSION),
        "servers": [{"url": "/", "description": "The service that this document comes from"}],
        "tags": parts.TAGS,
        "security": [{"bearer": []}],
        "paths": _paths(queries),
        "components": {
            "securitySchemes": parts.SECURITY,
            "parameters": parts.PARAMETERS,
            "headers": parts.HEADERS,
            "responses": {
                parts.problem_name(status): parts.problem_response(status)
                for status in sorted({kind.status for kind in PROBLEMS.values()})
            },
            "schemas": schemas,
        },
    }


def _paths(queries: Mapping[str, QuerySchemas]) -> Json:
    paths: Json = {API: {"get": _fleet(queries), "post": _provision()}}
    for route in ROUTES:
        item = paths.setdefault(re.sub(r":str}", "}", route.path), {})
        item[route.method.lower()] = (
            _command(route) if route.kind == "command" else _query(route, queries.get(route.name or ""))
        )
    return {**paths, **parts.open_paths()}


def _provision() -> Json:
    return {
        "operationId": "provision",
        "tags": ["commands"],
        "summary": "Make a tenant",
        "description": f"{_said('provision')} Without a `tenant_id` one is made here, the same for the same "
        "`Idempotency-Key`. Only for operators.",
        "parameters": [parts.parameter("IdempotencyKey"), *parts.TRACE_HEADERS],
        "requestBody": parts.body(
            {
                "allOf": [parts.ref("provision")],
                "properties": {"tenant_id": {"type": "string", "format": "uuid"}},
            },
            "provision",
            required=True,
        ),
        "responses": {"202": parts.OUTCOME_RUNNING, **_problems(_COMMAND_REFUSALS)},
    }


def _fleet(queries: Mapping[str, QuerySchemas]) -> Json:
    listed = queries.get(f"{FLEET}.tenants")
    known = {item["name"]: item for item in parts.query_parameters(listed.fields if listed else {}, ())}
    for name, query in FLEET_QUERIES.items():
        known[name] = {
            "name": name,
            "in": "query",
            "description": f"Asks `{FLEET}.{query}` instead",
            "schema": {"type": "string"},
        }
    found = [f"{FLEET}.{name}" for name in ("tenants", *FLEET_QUERIES.values())]
    answers = [parts.ref(f"{name}.answer") for name in found if name in queries]
    return {
        "operationId": "fleet.tenants",
        "tags": ["queries"],
        "summary": "All tenants: search, filter, page",
        "description": "Only for operators.",
        "parameters": [*known.values(), parts.parameter("IfNoneMatch")],
        "responses": {**_answers({"anyOf": answers} if answers else parts.ANY), **_problems(_QUERY_REFUSALS)},
    }


def _command(route: Route) -> Json:
    name = route.name
    known = name in COMMANDS
    schema = parts.ref(name) if name is not None and known else _any_command() if name is None else parts.ANY
    operation: Json = {
        "operationId": name or "command",
        "tags": ["commands"],
        "summary": route.summary,
        "description": _said(name) if name else "The body is the command's own fields.",
        "parameters": [
            *_path_parameters(route),
            parts.parameter("IdempotencyKey"),
            parts.parameter("IfMatch"),
            *parts.TRACE_HEADERS,
        ],
        "requestBody": parts.body(schema, name, required=known and _has_required(name)),
        "responses": {
            "200": parts.OUTCOME_DONE,
            "202": parts.OUTCOME_RUNNING,
            **_problems(_COMMAND_REFUSALS),
        },
    }
    return operation


def _query(route: Route, query: QuerySchemas | None) -> Json:
    in_path = _path_names(route)
    given = parts.query_parameters(query.fields, in_path) if query else [parts.ANY_FIELDS]
    schema = parts.ref(f"{route.name}.answer") if query else parts.ANY
    description = "The parameters are the query's own fields." if route.name is None else route.summary + "."
    if route.name is not None and query is None:
        description = f"Not in this version: answers `unknown-query`. {description}"
    return {
        "operationId": route.name or "query",
        "tags": ["queries"],
        "summary": route.summary,
        "description": description,
        "parameters": [*_path_parameters(route), *given, parts.parameter("IfNoneMatch")],
        "responses": {**_answers(schema), **_problems(_QUERY_REFUSALS)},
    }


def _said(command: str) -> str:
    spec = COMMANDS.get(command)
    if spec is None:
        return "Not in this version: answers `unknown-command`."
    return " ".join((spec.form.__doc__ or command).split())


def _has_required(command: str | None) -> bool:
    return command in COMMANDS and bool(COMMANDS[command].form.model_json_schema().get("required"))


def _any_command() -> Json:
    return {"anyOf": [parts.ref(name) for name in COMMANDS]}


def _path_names(route: Route) -> tuple[str, ...]:
    return tuple(re.findall(r"{(\w+):str}", route.path))


def _path_parameters(route: Route) -> list[Json]:
    return [parts.path_parameter(name, COMMANDS) for name in _path_names(route)]


def _answers(schema: Json) -> Json:
    return {
        "200": {
            "description": "The answer; it carries the `position` that it includes",
            "headers": {"ETag": parts.header("ETag")},
            "content": {"application/json": {"schema": schema}},
        },
        "304": {"description": "The version that `If-None-Match` names is still the present one"},
    }


def _problems(statuses: Iterable[int]) -> Json:
    return {
        str(status): {"$ref": f"#/components/responses/{parts.problem_name(status)}"} for status in statuses
    }
