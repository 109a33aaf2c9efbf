"""The AsyncAPI document and the doors of the bus say the same: what either takes, the other takes.

Over HTTP the same walk is `tests/handlers/http_edge/test_documented.py`.
"""

import json
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from handlers.bus.asyncapi import asyncapi_document
from handlers.execution.body import canonical, validated
from handlers.execution.bulk import BULK, ControlOperations
from handlers.execution.decode import check_headers, decoded
from handlers.queries.asking import asked
from handlers.wire.headers import COMMAND_ID, OF_COMMANDS, TRACEPARENT
from handlers.wire.subjects import FLEET, Streams, Subjects
from projections.registry import QUESTIONS
from tenant_domain.decision import Command
from tenant_domain.refusals import Refusal
from tenant_domain.registry import COMMANDS
from tests.support.oddities import ID, TEXTS, VALUES

DOCUMENT = asyncapi_document(Subjects("acme"), Streams(), "1.2.3")
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


def document_of(message: str, part: str) -> Draft202012Validator:
    """The document's word on a part of a message."""
    whole = {**MESSAGES[message][part], "components": DOCUMENT["components"]}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


def read(form: type[Command], body: dict[str, Any]) -> None:
    """Read a body as the doors do."""
    validated(form, canonical(json.dumps(body).encode()))


def taken(call: Any, *arguments: Any, **more: Any) -> bool:
    """Whether what a door does with a message is not to refuse it."""
    try:
        call(*arguments, **more)
    except Refusal:
        return False
    return True


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_the_bodies_that_are_documented_and_no_other(name: str) -> None:
    document, spec = document_of(f"commands.{name}", "payload"), COMMANDS[name]
    example = spec.example.model_dump(mode="json", exclude_unset=True)
    for field in (*spec.form.model_fields, "nope"):
        for value in VALUES:
            body = {**example, field: value}
            accepted = taken(read, spec.form, body)
            assert document.is_valid(body) == accepted, str(body)[:300]


def test_a_command_for_many_operations_takes_the_bodies_that_are_documented_and_no_other() -> None:
    document = document_of(f"rpc.{FLEET}.{next(iter(BULK))}", "payload")
    for field in (*ControlOperations.model_fields, "nope"):
        for value in VALUES:
            for body in ({field: value}, {"kind": "upgrade", field: value}):
                accepted = taken(read, ControlOperations, body)
                assert document.is_valid(body) == accepted, str(body)[:300]


@pytest.mark.parametrize(("fleet", "name"), QUESTIONS)
def test_a_query_takes_the_bodies_that_are_documented_and_no_other(fleet: bool, name: str) -> None:
    document = document_of(f"queries.{FLEET}.{name}" if fleet else f"queries.{name}", "payload")
    form = QUESTIONS[fleet, name].form
    least = {field: ID for field, info in form.model_fields.items() if info.is_required()}
    for field in (*form.model_fields, "nope"):
        for value in VALUES:
            body = {**least, field: value}
            accepted = taken(asked, FLEET if fleet else ID, name, json.dumps(body).encode())
            assert document.is_valid(body) == accepted, str(body)[:300]


HEADERS = (*sorted(OF_COMMANDS), TRACEPARENT, "X-Other")
INBOXES = (
    *("_INBOX", "_INBOX.a", "_INBOX_ada.b.c", "_INBOX.a.b.1", "_inbox.a", "_INBOXa", "x_INBOX", "_INBOX."),
    *("_INBOX.>", "_INBOX.*", "_INBOX.a b", "_INBOX_.a", "_INBOX..a", f"_INBOX.{'a' * 248}"),
    *(f"_INBOX.{'a' * 249}", "tenants.events.x", "_INBOX.a\u2028", "_INBOX.\u200b", "_INBOX.\x7f"),
)
LINES = (
    *TEXTS,
    *INBOXES,
    "a\x7fb",
    "a\x9fb",
    "a\ufffdb",
    "😀" * 255,
    "😀" * 256,
    "9" * 18,
    "9" * 19,
    "sealed",
)


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "answered"])
@pytest.mark.parametrize("name", HEADERS)
def test_a_command_takes_the_headers_that_are_documented_and_no_other(name: str, durable: bool) -> None:
    document = document_of(f"{'commands' if durable else 'rpc'}.resume", "headers")
    for written in (name, name.lower(), name.upper()):
        for line in LINES:
            headers = {COMMAND_ID: ID, written: line}
            accepted = taken(decoded, ID, "resume", headers, b"", durable=durable, new_id=lambda: UUID(ID))
            assert document.is_valid(headers) == accepted, headers


@pytest.mark.parametrize("name", HEADERS)
def test_a_command_for_many_operations_takes_the_same_headers(name: str) -> None:
    document = document_of(f"rpc.{FLEET}.{next(iter(BULK))}", "headers")
    for written in (name, name.lower(), name.upper()):
        for line in LINES:
            headers = {COMMAND_ID: ID, written: line}
            assert document.is_valid(headers) == taken(check_headers, headers), headers


def test_only_a_durable_command_has_to_name_its_id() -> None:
    for door, fits in (("commands.resume", False), ("rpc.resume", True)):
        assert document_of(door, "headers").is_valid({}) == fits
    assert not taken(decoded, ID, "resume", {}, b"", durable=True, new_id=lambda: UUID(ID))
    assert taken(decoded, ID, "resume", {}, b"", durable=False, new_id=lambda: UUID(ID))
