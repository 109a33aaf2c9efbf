"""The parts of the OpenAPI document that do not depend on the route."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from handlers.http_edge.problems import PROBLEM_JSON, PROBLEMS
from tenant_domain.refusals import Refusal

Json = dict[str, Any]

TENANT = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
OPERATION = "6c1f7c1e-52a7-5f0e-8a55-0d9ad1f0a3b2"
COMMAND = "3d0c1a52-9f6e-5d53-8d6c-5c2f4a1b7e90"

ANY: Json = {"type": "object", "additionalProperties": True}

TAGS = [
    {"name": "commands", "description": "What changes a tenant; safe to repeat with an `Idempotency-Key`"},
    {"name": "queries", "description": "What is known about tenants"},
    {"name": "service", "description": "The service itself; without a token"},
]

SECURITY: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A JWT (EdDSA) with `sub`, `role`, `exp`, `iss`, `aud`, and `tenant` for everybody but "
        "operators. `tenantctl token` signs one; /.well-known/jwks.json has the key.",
    }
}

EXAMPLES: Mapping[str, Json] = {
    "provision": {
        "name": "Acme Rockets",
        "subdomain": "acme",
        "plan": "professional",
        "admin": {"email": "ada@acme.example", "name": "Ada Lovelace"},
        "region": "eu-central",
    },
    "update_profile": {"name": "Acme Rockets & Sons", "settings": {"locale": "de-AT", "beta": None}},
    "suspend": {"reason": "Invoice 2026-114 is 60 days overdue"},
    "resume": {},
    "retry_operation": {"operation_id": OPERATION},
    "cancel_operation": {"operation_id": OPERATION},
    "compensate_operation": {"operation_id": OPERATION},
}
"""One body for each command."""

_PROBLEM_EXTRAS: Mapping[str, Json] = {
    "invalid-command": {"errors": [{"field": "subdomain", "detail": "must be a DNS label"}]},
    "invalid-query": {"errors": [{"field": "limit", "detail": "Input should be a valid integer"}]},
    "invalid-transition": {"from": "suspended", "command": "suspend"},
    "operation-in-progress": {"operation_id": OPERATION},
    "version-conflict": {"version": 7},
    "quota-exceeded": {"resource": "users", "limit": 25, "used": 25},
    "rate-limited": {"retry_after": 2},
    "stale-read": {"position": 4711},
    "unavailable": {"retry_after": 1},
}

_ID: Json = {"type": "string", "format": "uuid"}
_OUTCOME: Json = {
    "type": "object",
    "description": "What became of a command. The same for the same `Idempotency-Key`, byte for byte.",
    "required": ["command_id", "tenant_id", "status", "version", "position", "operation_id", "result"],
    "properties": {
        "command_id": _ID,
        "tenant_id": _ID,
        "status": {"const": "completed"},
        "version": {"type": "integer", "description": "The tenant's version after the command"},
        "position": {"type": "integer", "description": "Ask with it as `min_position` to read what you wrote"},
        "operation_id": {"type": ["string", "null"], "format": "uuid", "description": "What goes on with it"},
        "result": ANY,
    },
}
SCHEMAS: Mapping[str, Json] = {
    "Outcome": _OUTCOME,
    "Problem": {
        "type": "object",
        "description": "A refusal (RFC 9457). Some kinds have more fields; see the examples, or GET its `type`.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": [f"/problems/{name}" for name in PROBLEMS]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "additionalProperties": True,
    },
    "ProblemKind": {
        "type": "object",
        "required": ["type", "title", "status", "description"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "description": {"type": "string"},
        },
    },
    "Health": {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"enum": ["ok", "unavailable"]},
            "parts": {"type": "object", "additionalProperties": {"enum": ["ok", "down"]}},
        },
    },
    "KeySet": {
        "type": "object",
        "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {"type": "object", "required": ["kty", "kid"]}}},
    },
}

_TEXT: Json = {"type": "string", "minLength": 1, "maxLength": 255}
PARAMETERS: Json = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Any text of your own. The same key with the same request gives the recorded outcome and "
        "does nothing again; with another body it is refused. Without a key a request is not safe to repeat.",
        "schema": _TEXT,
        "example": "order-2026-11-23-0042",
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Refuse unless the tenant is at this version (an `ETag` of a read); `*` is any.",
        "schema": {"type": "string"},
        "example": '"7"',
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Answer 304 when the version is still this one.",
        "schema": {"type": "string"},
        "example": '"7"',
    },
    "CorrelationId": {
        "name": "Correlation-Id",
        "in": "header",
        "description": "Stands in every event that follows, and in the response.",
        "schema": _TEXT,
    },
    "Traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context; stands in every event that follows.",
        "schema": {"type": "string"},
    },
}
HEADERS: Json = {
    "ETag": {"description": "The tenant's version, in quotes", "schema": {"type": "string"}},
    "Location": {"description": "The operation that goes on with it", "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds to wait", "schema": {"type": "integer"}},
    "CommandId": {"description": "The id that the outcome is recorded under", "schema": _ID},
    "Challenge": {"description": "What to send", "schema": {"type": "string"}},
}


def info(version: str) -> Json:
    """Return what the document is about."""
    return {
        "title": "Tenant service",
        "version": version,
        "summary": "Owns the life of every tenant",
        "description": "The same commands and queries as over NATS, with the same problems. A command is answered "
        "after it is durable: 202 with a `Location` when an operation goes on with it, else 200. Numbers in "
        "query parameters are decimal, lists are repeated or have commas.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def ref(schema: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def parameter(name: str) -> Json:
    """Return a reference to a parameter of the document."""
    return {"$ref": f"#/components/parameters/{name}"}


def header(name: str) -> Json:
    """Return a reference to a response header of the document."""
    return {"$ref": f"#/components/headers/{name}"}


TRACE_HEADERS = [parameter("CorrelationId"), parameter("Traceparent")]

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
        "headers": {"Command-Id": header("CommandId"), **headers},
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
    if command in EXAMPLES:
        content["example"] = EXAMPLES[command]
    return {"required": required, "content": {"application/json": content}}


def path_parameter(name: str, commands: Iterable[str]) -> Json:
    """Return the parameter that the path calls `name`."""
    schema: Json = dict(_ID) if name.endswith("_id") else {"type": "string"}
    if name == "command":
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
        "/.well-known/jwks.json": _open("jwks", "The key that tokens are signed with", ref("KeySet")),
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


def hoisted(schema: Json, into: Json) -> Json:
    """Return `schema` with its definitions moved `into` the document's schemas."""
    moved = _rewritten(schema)
    into.update(moved.pop("$defs", {}))
    return moved


def _open(name: str, summary: str, schema: Json, media: str = "application/json", *, down: bool = False) -> Json:
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
        **_PROBLEM_EXTRAS.get(kind.problem, {}),
    }


def _rewritten(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: inner.replace("#/$defs/", "#/components/schemas/")
            if key == "$ref" and isinstance(inner, str)
            else _rewritten(inner)
            for key, inner in value.items()
        }
    return [_rewritten(inner) for inner in value] if isinstance(value, list) else value


def _flat(schema: Json, definitions: Json) -> Json:
    """Return a parameter's schema without `null`, which a query string cannot say, and without references."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        real = [part for part in schema["anyOf"] if part.get("type") != "null"]
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return {**rest, **_flat(real[0], definitions)} if len(real) == 1 else {**rest, "anyOf": real}
    return schema
