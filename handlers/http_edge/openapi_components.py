"""What the OpenAPI document says without looking at the tables: schemas, headers, parameters, examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.execution.bulk import BULK
from handlers.http_edge.problems import PROBLEMS
from tenant_domain.registry import COMMANDS

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
        "description": "A JWT (EdDSA) with `sub`, `role`, `exp`, `iss`, `aud`, and `tenant` for all but "
        "operators. `tenantctl token` signs one; /.well-known/jwks.json has the key.",
    }
}

EXAMPLES: Mapping[str, Json] = {
    **{name: spec.example.model_dump(mode="json", exclude_unset=True) for name, spec in COMMANDS.items()},
    **{name: {"kind": "provisioning", "status": "parked"} for name in BULK},
}
"""One body for each command."""

PROBLEM_EXTRAS: Mapping[str, Json] = {
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

ID: Json = {"type": "string", "format": "uuid"}
_OUTCOME: Json = {
    "type": "object",
    "description": "What became of a command. The same for the same `Idempotency-Key`, byte for byte.",
    "required": ["command_id", "tenant_id", "status", "version", "position", "operation_id", "result"],
    "properties": {
        "command_id": ID,
        "tenant_id": ID,
        "status": {"const": "completed"},
        "version": {"type": "integer", "description": "The tenant's version after the command"},
        "position": {
            "type": "integer",
            "description": "Ask with it as `min_position` to read what you wrote",
        },
        "operation_id": {"type": ["string", "null"], "format": "uuid", "description": "What goes on with it"},
        "result": ANY,
    },
}
SCHEMAS: Mapping[str, Json] = {
    "Outcome": _OUTCOME,
    "Problem": {
        "type": "object",
        "description": "A refusal (RFC 9457). Some kinds have more fields: see the examples.",
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
            "reasons": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Why the parts that are down are so",
            },
        },
    },
    "KeySet": {
        "type": "object",
        "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {"type": "object", "required": ["kty", "kid"]}}},
    },
}

POSITION: Json = {"type": "integer", "description": "The position of the log that the answer includes"}
POSITIONED: Json = {"type": "object", "required": ["position"], "properties": {"position": POSITION}}

_TEXT: Json = {"type": "string", "minLength": 1, "maxLength": 255}
PARAMETERS: Json = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Any text of your own. The same key with the same request gives the recorded outcome "
        "and does nothing again; with another body it is refused. Without one it is not safe to repeat.",
        "schema": _TEXT,
        "example": "order-2026-11-23-0042",
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Refuse unless the tenant is at one of these versions (`ETag`s of reads); `*` is any.",
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
    "UnlessMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Refuse (412) when the tenant is at one of these versions; `*`: when it exists.",
        "schema": {"type": "string"},
        "example": "*",
    },
    "CausationId": {
        "name": "Causation-Id",
        "in": "header",
        "description": "Stands in every event that follows.",
        "schema": _TEXT,
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
    "Location": {
        "description": "The operation that goes on with it",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "RetryAfter": {"description": "Seconds to wait", "schema": {"type": "integer"}},
    "CommandId": {"description": "The id that the outcome is recorded under", "schema": ID},
    "CorrelationId": {
        "description": "The request's own, where it had one",
        "schema": {"type": "string"},
    },
    "Challenge": {"description": "What to send", "schema": {"type": "string"}},
}
