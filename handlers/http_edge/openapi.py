"""The OpenAPI 3.1 document, made from the tables that the app is made from: routes, commands, queries."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from handlers.execution.bulk import BULK, BulkOutcome, ControlOperations
from handlers.http_edge import openapi_components as components
from handlers.http_edge import openapi_parts as parts
from handlers.http_edge.openapi_components import Json
from handlers.http_edge.problems import PROBLEMS
from handlers.http_edge.routes import API, EXPORT_PART, FLEET_QUERIES, ROUTES, Route
from handlers.wire.subjects import FLEET
from projections.questions import Question
from projections.registry import QUESTIONS
from tenant_domain.registry import COMMANDS

VERSION = "1"
"""Of the contract. A published name or field never changes its meaning; new ones may be added."""

_NO_QUERY = "Not in this version: answers `unknown-query`."

_BULK_REFUSALS = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)
_COMMAND_REFUSALS = (*_BULK_REFUSALS, 409, 410, 412)
_PART_REFUSALS = (400, 401, 403, 404, 410, 422, 429, 500, 503, 504)
_QUERY_REFUSALS = (*_PART_REFUSALS, 412)


def openapi() -> Json:
    """Return the document."""
    schemas = dict(components.SCHEMAS)
    for name, spec in COMMANDS.items():
        schemas[name] = parts.hoisted(spec.form.model_json_schema(), schemas)
    schemas["NewTenant"] = parts.with_tenant_id(schemas["provision"])
    for question in QUESTIONS.values():
        answer = _answer(question, schemas)
        if not _is_whole(question):
            schemas[_answer_name(question)] = answer
    schemas["ControlOperations"] = parts.hoisted(ControlOperations.model_json_schema(), schemas)
    _, found = msgspec.json.schema_components([BulkOutcome], ref_template="#/components/schemas/{name}")
    schemas.update(found)
    return {
        "openapi": "3.1.0",
        "info": parts.info(VERSION),
        "servers": [{"url": "/", "description": "The service that this document comes from"}],
        "tags": components.TAGS,
        "security": [{"bearer": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": components.SECURITY,
            "parameters": components.PARAMETERS,
            "headers": components.HEADERS,
            "responses": {
                parts.problem_name(status): parts.problem_response(status)
                for status in sorted({kind.status for kind in PROBLEMS.values()})
            },
            "schemas": schemas,
        },
    }


def _paths() -> Json:
    paths: Json = {API: {"get": _fleet(), "post": _provision()}}
    for route in ROUTES:
        item = paths.setdefault(re.sub(r":str}", "}", route.path), {})
        item[route.method.lower()] = _command(route) if route.kind == "command" else _query(route)
    paths[re.sub(r":(str|path)}", "}", EXPORT_PART)] = {"get": _export_part()}
    paths |= {f"{API}/{FLEET}/commands/{name}": {"post": _bulk(name)} for name in BULK}
    return {**paths, **parts.open_paths()}


def _export_part() -> Json:
    return {
        "operationId": "export.part",
        "tags": ["queries"],
        "summary": "A part of a tenant's export",
        "description": "`manifest.json` names all parts, with sizes and SHA-256. Only for operators, and for "
        "owners and admins of the tenant; also while it is out of service.",
        "parameters": [parts.path_parameter(name, COMMANDS) for name in ("tenant_id", "part")],
        "responses": {
            "200": {
                "description": "Its bytes",
                "headers": {"ETag": parts.header("ETag")},
                "content": {"application/octet-stream": {}, "application/json": {"schema": components.ANY}},
            },
            **_problems(_PART_REFUSALS),
        },
    }


def _bulk(name: str) -> Json:
    return {
        "operationId": f"{FLEET}.{name}",
        "tags": ["commands"],
        "summary": f"{name.replace('_', ' ').capitalize()} that fit a filter",
        "description": f"{' '.join((ControlOperations.__doc__ or '').split())} Only for operators.",
        "parameters": [parts.parameter("IdempotencyKey"), *parts.TRACE_HEADERS],
        "requestBody": parts.body(parts.ref("ControlOperations"), name, required=True),
        "responses": {
            "200": {
                "description": "What became of each",
                "headers": {"Command-Id": parts.header("CommandId")},
                "content": {"application/json": {"schema": parts.ref("BulkOutcome")}},
            },
            **_problems(_BULK_REFUSALS),
        },
    }


def _provision() -> Json:
    return {
        "operationId": "provision",
        "tags": ["commands"],
        "summary": "Make a tenant",
        "description": f"{_said('provision')} Without a `tenant_id` one is made here, the same for the same "
        "`Idempotency-Key`. Only for operators.",
        "parameters": [
            parts.parameter("IdempotencyKey"),
            parts.parameter("IfMatch"),
            parts.parameter("UnlessMatch"),
            *parts.TRACE_HEADERS,
        ],
        "requestBody": parts.body(
            parts.ref("NewTenant"),
            "provision",
            required=True,
        ),
        "responses": {"202": parts.OUTCOME_RUNNING, **_problems(_COMMAND_REFUSALS)},
    }


def _fleet() -> Json:
    given = parts.query_parameters(QUESTIONS[True, "tenants"].form.model_json_schema(), ())
    for name, query in FLEET_QUERIES.items():
        question = QUESTIONS.get((True, query))
        fields: Json = question.form.model_json_schema()["properties"] if question else {}
        given.append(
            {
                "name": name,
                "in": "query",
                "description": f"Asks `{FLEET}.{query}` instead" if question else _NO_QUERY,
                "schema": fields.get(name, {"type": "string"}),
            }
        )
    questions = [QUESTIONS.get((True, name)) for name in ("tenants", *FLEET_QUERIES.values())]
    answers = [parts.ref(_answer_name(question)) for question in questions if question]
    return {
        "operationId": "fleet.tenants",
        "tags": ["queries"],
        "summary": "All tenants: search, filter, page",
        "description": "Only for operators.",
        "parameters": [*given, parts.parameter("IfMatch"), parts.parameter("IfNoneMatch"), parts.TRACEPARENT],
        "responses": {**_answers({"anyOf": answers}, versioned=True), **_problems(_QUERY_REFUSALS)},
    }


def _command(route: Route) -> Json:
    name = route.name
    known = name in COMMANDS
    schema = (
        parts.ref(name) if name is not None and known else _any_command() if name is None else components.ANY
    )
    operation: Json = {
        "operationId": name or "command",
        "tags": ["commands"],
        "summary": route.summary,
        "description": _said(name) if name else "The body is the command's own fields.",
        "parameters": [
            *_path_parameters(route),
            parts.parameter("IdempotencyKey"),
            parts.parameter("IfMatch"),
            parts.parameter("UnlessMatch"),
            *parts.TRACE_HEADERS,
            *(_as_parameters(name) if route.method == "DELETE" else ()),
        ],
        "requestBody": parts.body(schema, name, required=_has_required(name) and route.method != "DELETE"),
        "responses": {
            "200": parts.OUTCOME_DONE,
            "202": parts.OUTCOME_RUNNING,
            **_problems(_COMMAND_REFUSALS),
        },
    }
    return operation


def _as_parameters(command: str | None) -> list[Json]:
    """Return a command's fields as query parameters, for clients that send no body; none is required."""
    spec = COMMANDS.get(command or "")
    given = [] if spec is None else parts.query_parameters(spec.form.model_json_schema(), ())
    return [{**each, "required": False, "description": "In place of the body"} for each in given]


def _query(route: Route) -> Json:
    question = QUESTIONS.get((False, route.name or ""))
    if question is not None:
        given = parts.query_parameters(question.form.model_json_schema(), _path_names(route))
        description = " ".join((question.form.__doc__ or route.summary).split())
    else:
        given = [parts.ANY_FIELDS]
        description = _NO_QUERY if route.name else "Its fields are the parameters."
    schema = parts.ref(_answer_name(question)) if question else components.ANY
    versioned = question is None or (
        "version" in question.item.__struct_fields__ and not parts.is_paged(question)
    )
    return {
        "operationId": route.name or "query",
        "tags": ["queries"],
        "summary": route.summary,
        "description": description,
        "parameters": [
            *_path_parameters(route),
            *given,
            parts.parameter("IfMatch"),
            parts.parameter("IfNoneMatch"),
            parts.TRACEPARENT,
        ],
        "responses": {
            **_answers(schema, versioned=versioned),
            **_problems(_QUERY_REFUSALS if versioned else _PART_REFUSALS),
        },
    }


def _answer_name(question: Question) -> str:
    if _is_whole(question):
        return question.item.__name__
    return f"{FLEET}.{question.name}.answer" if question.fleet else f"{question.name}.answer"


def _is_whole(question: Question) -> bool:
    """Return whether what is asked for has its position itself."""
    return "position" in question.item.__struct_fields__ and not parts.is_paged(question)


def _answer(question: Question, schemas: Json) -> Json:
    """Return the schema of an answer: an item, or a page of them, and the position."""
    (item,), found = msgspec.json.schema_components(
        [question.item], ref_template="#/components/schemas/{name}"
    )
    schemas.update(found)
    if not parts.is_paged(question):
        return {"allOf": [item, components.POSITIONED]}
    return parts.page_of(item)


def _said(command: str) -> str:
    spec = COMMANDS.get(command)
    if spec is None:
        return "Not in this version: answers `unknown-command`."
    return " ".join((spec.form.__doc__ or command).split())


def _has_required(command: str | None) -> bool:
    spec = COMMANDS.get(command or "")
    return spec is not None and "required" in spec.form.model_json_schema()


def _any_command() -> Json:
    return {"anyOf": [parts.ref(name) for name in COMMANDS]}


def _path_names(route: Route) -> tuple[str, ...]:
    return tuple(re.findall(r"{(\w+):str}", route.path))


def _path_parameters(route: Route) -> list[Json]:
    return [parts.path_parameter(name, COMMANDS) for name in _path_names(route)]


def _answers(schema: Json, *, versioned: bool) -> Json:
    answer: Json = {
        "description": "The answer; it carries the `position` that it includes",
        "content": {"application/json": {"schema": schema}},
    }
    if not versioned:
        return {"200": answer}
    return {
        "200": {**answer, "headers": {"ETag": parts.header("ETag")}},
        "304": {"description": "The version that `If-None-Match` names is still the present one"},
    }


def _problems(statuses: Iterable[int]) -> Json:
    return {
        str(status): {"$ref": f"#/components/responses/{parts.problem_name(status)}"} for status in statuses
    }
