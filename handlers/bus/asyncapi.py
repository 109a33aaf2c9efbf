"""The AsyncAPI document of the bus, made from the tables that the service is made from.

Every command through both doors, every query, every event, the live context and the dead letters; not the
hints between the processes of one service, and not NATS's own protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel

from handlers.bus import asyncapi_parts as parts
from handlers.bus.asyncapi_parts import Json, ref
from handlers.execution.bulk import BULK, BulkOutcome, ControlOperations
from handlers.wire.subjects import FLEET, Streams, Subjects
from projections.context import TenantContext
from projections.questions import Question, answer_type
from projections.registry import QUESTIONS
from tenant_domain.aggregate import CommandSpec
from tenant_domain.decision import Event
from tenant_domain.registry import COMMANDS, EVENTS

SPECIFICATION = "3.1.0"
TENANT_ID = "{tenant_id}"


class _Part(NamedTuple):
    """A channel and the operation on it; both and the message have the same `name`."""

    name: str
    channel: Json
    operation: Json
    message: Json


def asyncapi_document(subjects: Subjects, streams: Streams, version: str) -> Json:
    """Return the document for a service of this `version` under these subjects and streams."""
    every = [
        *_stored_commands(subjects, streams),
        *_answered_commands(subjects),
        *_bulk_commands(subjects),
        *_queries(subjects),
        *_events(subjects, streams),
        _context(streams),
        _dead_letters(subjects, streams),
    ]
    channels = {part.name: part.channel for part in every}
    messages = {part.name: part.message for part in every}
    return {
        "asyncapi": SPECIFICATION,
        "info": parts.info(version),
        "defaultContentType": "application/json",
        "servers": parts.SERVERS,
        "channels": {**channels, **_answer_channels()},
        "operations": {part.name: part.operation for part in every},
        "components": {
            "messages": {**messages, **parts.ANSWERS, **_query_answers(), "controlled": _controlled()},
            "parameters": parts.PARAMETERS,
            "schemas": dict(sorted(_schemas().items())),
        },
    }


def _channel(address: str, name: str, title: str, parameters: Iterable[str], **more: Any) -> Json:
    given = {each: ref("parameters", each) for each in parameters}
    return {
        "address": address,
        "title": title,
        "messages": {"message": ref("messages", name)},
        **({"parameters": given} if given else {}),
        **more,
    }


def _operation(name: str, action: str, summary: str, tag: str, **more: Any) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/message"}],
        "summary": summary,
        "tags": [{"name": tag}],
        **more,
    }


def _reply(channel: str, messages: Iterable[str], **more: Any) -> Json:
    return {
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages],
        **more,
    }


def _command_message(name: str, spec: CommandSpec, headers: str, what: str) -> Json:
    return {
        "name": name,
        "title": name,
        "summary": what,
        "correlationId": {"location": "$message.header#/Correlation-Id"},
        "headers": ref("schemas", headers),
        "payload": ref("schemas", spec.form.__name__),
        "examples": [{"payload": spec.example.model_dump(mode="json", exclude_unset=True)}],
    }


def _stored_commands(subjects: Subjects, streams: Streams) -> Iterator[_Part]:
    for name, spec in COMMANDS.items():
        key, what = f"commands.{name}", _said(spec.form)
        channel = _channel(
            subjects.command(TENANT_ID, name),
            key,
            f"{name}, durable",
            ["tenant_id"],
            description=parts.DURABLE_DOOR,
            **parts.stream(streams.commands),
        )
        reply = _reply("outcomes", ["outcome", "rejected"], address={"location": parts.REPLY_TO_LOCATION})
        operation = _operation(key, "receive", what, "commands", reply=reply)
        yield _Part(key, channel, operation, _command_message(name, spec, "DurableCommandHeaders", what))


def _answered_commands(subjects: Subjects) -> Iterator[_Part]:
    for name, spec in COMMANDS.items():
        key, what = f"rpc.{name}", _said(spec.form)
        channel = _channel(
            subjects.rpc(TENANT_ID, name),
            key,
            f"{name}, answered",
            ["tenant_id"],
            description=parts.ANSWERED_DOOR,
        )
        operation = _operation(
            key, "receive", what, "commands", reply=_reply("outcomes", ["outcome", "rejected"])
        )
        yield _Part(key, channel, operation, _command_message(name, spec, "CommandHeaders", what))


def _bulk_commands(subjects: Subjects) -> Iterator[_Part]:
    what = _said(ControlOperations)
    for name in BULK:
        key = f"rpc.{FLEET}.{name}"
        channel = _channel(subjects.rpc(FLEET, name), key, name, (), description=parts.ANSWERED_DOOR)
        operation = _operation(
            key, "receive", what, "commands", reply=_reply("outcomes", ["controlled", "rejected"])
        )
        message = {
            "name": name,
            "title": name,
            "summary": what,
            "headers": ref("schemas", "CommandHeaders"),
            "payload": ref("schemas", ControlOperations.__name__),
        }
        yield _Part(key, channel, operation, message)


def _queries(subjects: Subjects) -> Iterator[_Part]:
    for question in QUESTIONS.values():
        name, what = _query_name(question), _said(question.form)
        key = f"queries.{name}"
        scope, given = (FLEET, []) if question.fleet else (TENANT_ID, ["tenant_id"])
        channel = _channel(subjects.query(scope, question.name), key, name, given)
        operation = _operation(
            key, "receive", what, "queries", reply=_reply("answers", [f"answers.{name}", "problem"])
        )
        message = {
            "name": name,
            "title": name,
            "summary": what,
            "payload": ref("schemas", question.form.__name__),
        }
        yield _Part(key, channel, operation, message)


def _events(subjects: Subjects, streams: Streams) -> Iterator[_Part]:
    for name, kind in EVENTS.items():
        key, what = f"events.{name}", _said(kind)
        channel = _channel(
            subjects.event(TENANT_ID, name), key, name, ["tenant_id"], **parts.stream(streams.events)
        )
        message = {
            "name": name,
            "title": name,
            "summary": what,
            "correlationId": {"location": "$message.header#/ce-correlationid"},
            "headers": parts.event_headers(kind),
            "payload": ref("schemas", kind.__name__),
        }
        yield _Part(key, channel, _operation(key, "send", what, "events"), message)


def _context(streams: Streams) -> _Part:
    key, what = "context", _said(TenantContext)
    kept = parts.stream(streams.context_stream)
    kept["x-jetstream"]["bucket"] = streams.context
    channel = _channel(
        streams.context_subject(TENANT_ID),
        key,
        "Live context",
        ["tenant_id"],
        description=parts.LIVE_CONTEXT,
        **kept,
    )
    operation = _operation(key, "send", "Keep what holds for each tenant in a key-value bucket.", "context")
    payload = ref("schemas", TenantContext.__name__)
    message = {"name": key, "title": "Entry", "summary": what, "payload": payload}
    return _Part(key, channel, operation, message)


def _dead_letters(subjects: Subjects, streams: Streams) -> _Part:
    key = "dead_letters"
    given = ["dead_tenant", "stream", "reason"]
    address = subjects.dead("{dead_tenant}", "{stream}", "{reason}")
    channel = _channel(address, key, "Dead letters", given, **parts.stream(streams.dead_letters))
    operation = _operation(key, "send", "Keep what could not be done.", "dead letters")
    return _Part(key, channel, operation, parts.DEAD_LETTER)


def _answer_channels() -> Json:
    answers = {name: ref("messages", name) for name in (*_query_answers(), "problem")}
    return {
        "outcomes": {
            "address": None,
            "title": "Outcomes of commands",
            "description": "The inbox of whoever asked.",
            "messages": {each: ref("messages", each) for each in ("outcome", "rejected", "controlled")},
        },
        "answers": {
            "address": None,
            "title": "Answers of queries",
            "description": "The inbox of whoever asked.",
            "messages": answers,
        },
    }


def _query_answers() -> Json:
    return {
        f"answers.{_query_name(question)}": {
            "name": f"{_query_name(question)} answer",
            "title": f"Answer of {_query_name(question)}",
            "payload": ref("schemas", answer_type(question).__name__),
        }
        for question in QUESTIONS.values()
    }


def _controlled() -> Json:
    payload = ref("schemas", BulkOutcome.__name__)
    return {"name": "controlled", "title": "Outcome for many operations", "payload": payload}


def _query_name(question: Question) -> str:
    return f"{FLEET}.{question.name}" if question.fleet else question.name


def _schemas() -> Json:
    """Return the schemas of all forms, events and answers, each under the name of its class."""
    schemas = dict(parts.SCHEMAS)
    forms = [spec.form for spec in COMMANDS.values()] + [question.form for question in QUESTIONS.values()]
    for form in [*forms, ControlOperations]:
        schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[form.__name__] = schema
    schemas[ControlOperations.__name__] |= parts.something_of("kind", "status", "tenant_id")
    answers = [answer_type(question) for question in QUESTIONS.values()]
    structs = [BulkOutcome, TenantContext, *EVENTS.values(), *answers]
    _, found = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return schemas | found


def _said(kind: type[BaseModel] | type[Event] | type[TenantContext]) -> str:
    """Return the first sentence of what a class says of itself."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())
