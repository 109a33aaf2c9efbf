"""What the AsyncAPI document says without looking at the tables: headers, parameters, answers, problems."""

from __future__ import annotations

from typing import Any

from handlers.wire import headers as names
from tenant_domain.decision import Event
from tenant_domain.refusals import REFUSALS
from tenant_domain.values import SEALED

Json = dict[str, Any]

REPLY_TO_LOCATION = f"$message.header#/{names.REPLY_TO}"

DURABLE_DOOR = (
    "Publish to JetStream: the PubAck says that the command is durably accepted. Commands of one tenant are "
    f"decided in their order. The outcome goes to the inbox named in `{names.REPLY_TO}`, if there is one; a "
    "refused command is also a dead letter."
)
ANSWERED_DOOR = (
    "Request and reply: the reply is the outcome, sent after the commit. No reply means unknown: send the "
    f"command again with the same `{names.COMMAND_ID}`, it is done once."
)

LIVE_CONTEXT = (
    "A key-value bucket with an entry for each tenant under its id: watch it, and a hot path asks nobody. A "
    "fact that changes an entry writes it anew; an older one never does. Of a tenant whose data is being "
    "destroyed, or is gone, there is only the status."
)

SERVERS: Json = {
    "nats": {
        "host": "127.0.0.1:4222",
        "protocol": "nats",
        "description": "The NATS server, with JetStream, that the service is set up with.",
    }
}


def ref(kind: str, name: str) -> Json:
    """Return the reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def info(version: str) -> Json:
    """Return what the document says of the service."""
    return {
        "title": "Tenant service",
        "version": version,
        "description": "Owns the life of every tenant: commands in, events out, queries answered. Published "
        "names and fields never change their meaning; new ones may be added.",
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "contact": {"name": "Whoever runs this service"},
        "tags": [
            {
                "name": "commands",
                "description": "What changes a tenant; repeated with its id it is done once.",
            },
            {"name": "queries", "description": "What is known about tenants."},
            {"name": "events", "description": "What happened, in one order for all tenants."},
            {"name": "context", "description": "What holds for each tenant now, to be watched."},
            {"name": "dead letters", "description": "What could not be done."},
        ],
    }


def stream(name: str) -> Json:
    """Return the note that a JetStream stream keeps a channel's messages."""
    return {"x-jetstream": {"stream": name}}


PARAMETERS: Json = {
    "tenant_id": {
        "description": "The tenant: a lower-case hyphenated UUID, version 7 for a new one.",
        "examples": ["01938f5e-7c00-7000-8000-000000000001"],
    },
    "dead_tenant": {
        "description": "The tenant, or `unknown` where the subject named none.",
        "examples": ["01938f5e-7c00-7000-8000-000000000001", "unknown"],
    },
    "stream": {"description": "The stream that the message stood in.", "examples": ["TENANT_COMMANDS"]},
    "reason": {
        "description": "The problem's name, or how a consumer gave it up.",
        "examples": ["invalid-command", "max-deliveries"],
    },
}

_UUID: Json = {"type": "string", "format": "uuid"}
_ID: Json = {**_UUID, "pattern": "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"}
_TEXT: Json = {"type": "string", "minLength": 1, "maxLength": 255}
_LINE: Json = {**_TEXT, "pattern": f"^(?!{SEALED})[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ufffd]*$"}
_INBOX: Json = {
    "type": "string",
    "maxLength": 255,
    "pattern": r"^_INBOX(_[!-)+\-/-=?-~]+)?(\.[!-)+\-/-=?-~]+)*$",
}
_NUMBER: Json = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_TRACE: Json = {"type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"}


def _said(schema: Json, description: str) -> Json:
    return {**schema, "description": description}


_COMMAND_HEADERS: Json = {
    names.COMMAND_ID: _said(_ID, "The idempotency key, per tenant; made up here when it is missing."),
    names.EXPECTED_VERSION: _said(_NUMBER, "Refuse unless the tenant is at this version."),
    names.ACTOR: _said(_LINE, "Who asked, as the calling service vouches for it."),
    names.CORRELATION_ID: _said(_LINE, "Carried into every event that follows."),
    names.CAUSATION_ID: _said(_LINE, "Carried into every event that follows."),
    names.TRACEPARENT: _said(
        {"type": "string"},
        "W3C trace context, carried into every event that follows; one that does not fit it is left out.",
    ),
}
_DURABLE_HEADERS: Json = {
    **_COMMAND_HEADERS,
    names.COMMAND_ID: _said(_ID, "The idempotency key, per tenant."),
    names.REPLY_TO: _said(_INBOX, "Where the outcome goes: an inbox of the caller."),
}
_EVENT_HEADERS: Json = {
    names.CE_SPECVERSION: {"const": "1.0"},
    names.CE_ID: _said(_UUID, "Unique for each event, and the same when the stream is rebuilt."),
    names.CE_SOURCE: {"type": "string", "format": "uri-reference"},
    names.CE_TYPE: {"type": "string"},
    names.CE_SUBJECT: _said(_UUID, "The tenant."),
    names.CE_TIME: {"type": "string", "format": "date-time"},
    names.CE_DATACONTENTTYPE: {"const": "application/json"},
    names.CE_POSITION: _said(
        _NUMBER, "The place in the order of all events: gapless, the stream's sequence."
    ),
    names.CE_STREAMVERSION: _said(_NUMBER, "The place in the order of its entity's own events."),
    names.CE_SCHEMAVERSION: _said(_NUMBER, "The version of the fields."),
    names.MSG_ID: _said(_UUID, f"The same as `{names.CE_ID}`."),
}
_CARRIED_HEADERS: Json = {
    names.CE_CORRELATIONID: _said(_TEXT, f"The command's `{names.CORRELATION_ID}`, percent-encoded."),
    names.CE_CAUSATIONID: _said(_TEXT, f"The command's `{names.CAUSATION_ID}`, percent-encoded."),
    names.CE_ACTOR: _said(_TEXT, f"The command's `{names.ACTOR}`, percent-encoded."),
    names.CE_TRACEPARENT: _TRACE,
    names.TRACEPARENT: _TRACE,
}


def event_headers(kind: type[Event]) -> Json:
    """Return the schema of the headers of one kind of event (CloudEvents 1.0, NATS binding, binary mode)."""
    own = {names.CE_TYPE: {"const": kind.name}, names.CE_SCHEMAVERSION: {"const": str(kind.schema)}}
    return {"type": "object", "allOf": [ref("schemas", "EventHeaders")], "properties": own}


def _in_another_case(name: str) -> str:
    """Return the pattern of a name in whatever case."""
    return "".join(f"[{each.upper()}{each.lower()}]" if each.isalpha() else each for each in name)


_WRITTEN_AS_THEY_ARE: Json = {
    "propertyNames": {
        "anyOf": [
            {"enum": sorted(names.OF_COMMANDS)},
            {"not": {"pattern": f"^({'|'.join(map(_in_another_case, sorted(names.OF_COMMANDS)))})$"}},
        ]
    },
    "description": "Each stands there once, and in this case; what others have headers for is passed over.",
}


def something_of(*fields: str) -> Json:
    """Return the condition that one of these fields at least is given, and not null."""
    return {"anyOf": [{"required": [f], "properties": {f: {"not": {"type": "null"}}}} for f in fields]}


def _object(properties: Json, required: list[str], **more: Any) -> Json:
    return {"type": "object", "properties": properties, "required": required, **more}


_OUTCOME: Json = {
    "command_id": _UUID,
    "tenant_id": _UUID,
    "status": {"const": "completed"},
    "version": {"type": "integer", "description": "The tenant's version after the command."},
    "position": {"type": "integer", "description": "Ask with it as `min_position` to read what was written."},
    "operation_id": {
        "oneOf": [_UUID, {"type": "null"}],
        "description": "The saga that goes on with it.",
    },
    "result": {"type": "object"},
}
_PROBLEM: Json = {
    "type": {"type": "string", "examples": [f"/problems/{name}" for name in REFUSALS]},
    "title": {"type": "string"},
    "status": {"type": "integer", "enum": sorted({kind.status for kind in REFUSALS.values()})},
    "detail": {"type": "string"},
}
_REJECTED: Json = {
    "command_id": {"oneOf": [_UUID, {"type": "null"}]},
    "tenant_id": {"type": "string"},
    "status": {"const": "rejected"},
    "error": ref("schemas", "Problem"),
}
_ERROR_HEADERS: Json = {
    names.ERROR_CODE: {"type": "string", "pattern": "^[45][0-9]{2}$"},
    names.ERROR: {"type": "string", "examples": list(REFUSALS)},
}
_DEAD_LETTER_HEADERS: Json = {
    "Dead-Letter-Subject": _said({"type": "string"}, "Where the message was published."),
    "Dead-Letter-Stream": {"type": "string"},
    "Dead-Letter-Sequence": _NUMBER,
    "Dead-Letter-Reason": {"type": "string"},
    "Dead-Letter-Time": {"type": "string", "format": "date-time"},
    "Dead-Letter-Error": {"type": "string"},
    "Dead-Letter-Consumer": {"type": "string"},
    "Dead-Letter-Deliveries": {"type": "string"},
}

SCHEMAS: Json = {
    "CommandHeaders": _object(_COMMAND_HEADERS, [], **_WRITTEN_AS_THEY_ARE),
    "DurableCommandHeaders": _object(_DURABLE_HEADERS, [names.COMMAND_ID], **_WRITTEN_AS_THEY_ARE),
    "EventHeaders": _object({**_EVENT_HEADERS, **_CARRIED_HEADERS}, list(_EVENT_HEADERS)),
    "ErrorHeaders": _object(_ERROR_HEADERS, list(_ERROR_HEADERS)),
    "DeadLetterHeaders": _object(
        _DEAD_LETTER_HEADERS,
        ["Dead-Letter-Subject", "Dead-Letter-Stream", "Dead-Letter-Sequence", "Dead-Letter-Reason"],
        description="Besides these, the message's own headers.",
    ),
    "Outcome": _object(_OUTCOME, list(_OUTCOME), description="What came of a command that was done."),
    "Rejected": _object(_REJECTED, list(_REJECTED), description="What came of a command that was refused."),
    "Problem": _object(
        _PROBLEM, list(_PROBLEM), description="A refusal (RFC 9457); some kinds have more fields."
    ),
}

ANSWERS: Json = {
    "outcome": {
        "name": "outcome",
        "title": "Completed",
        "summary": "The command was done; the same for the same command id, byte for byte.",
        "payload": ref("schemas", "Outcome"),
    },
    "rejected": {
        "name": "rejected",
        "title": "Rejected",
        "summary": "The command was refused.",
        "headers": ref("schemas", "ErrorHeaders"),
        "payload": ref("schemas", "Rejected"),
    },
    "problem": {
        "name": "problem",
        "title": "Problem",
        "summary": "The query was refused.",
        "headers": ref("schemas", "ErrorHeaders"),
        "payload": ref("schemas", "Problem"),
    },
}

DEAD_LETTER: Json = {
    "name": "dead_letter",
    "title": "Dead letter",
    "summary": "A message that could not be done, as it was, and why; `tenantctl dead-letters` replays it.",
    "contentType": "application/octet-stream",
    "headers": ref("schemas", "DeadLetterHeaders"),
    "payload": {"description": "The body as it came, whatever it is."},
}
