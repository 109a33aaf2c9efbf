"""The AsyncAPI document: complete, right about what really goes over the bus, and valid."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from jsonschema import Draft202012Validator

from handlers.adapters import jetstream
from handlers.bus.asyncapi import asyncapi_document
from handlers.client.requests import Request, packed
from handlers.execution.bulk import BULK
from handlers.relay.cloud_events import message
from handlers.store.event_store import StoredEvent
from handlers.wire import headers as names
from handlers.wire.events import Meta, encoded
from handlers.wire.outcomes import completed, problem, rejected, rendered
from handlers.wire.subjects import Streams, Subjects
from projections.context import context_of
from projections.registry import QUESTIONS
from tenant_domain.examples import TENANT
from tenant_domain.refusals import REFUSALS
from tenant_domain.registry import COMMANDS, EVENTS
from tenant_domain.tenant.state import evolve
from tenant_domain.values import Status
from tests.documents.parser import NoRegistry, diagnostics
from tests.support.examples import COMMAND_EXAMPLES, EVENT_EXAMPLES

DOCUMENT = asyncapi_document(Subjects("acme"), Streams(), "1.2.3")
CHANNELS: dict[str, Any] = DOCUMENT["channels"]
OPERATIONS: dict[str, Any] = DOCUMENT["operations"]
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


def fits(schema: dict[str, Any], value: Any) -> None:
    """Assert that `value` fits a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def references(node: Any) -> Iterator[str]:
    """Yield all references below `node`."""
    if isinstance(node, dict):
        for key, value in node.items():  # pyright: ignore[reportUnknownVariableType]
            if key == "$ref" and isinstance(value, str):
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for value in node:  # pyright: ignore[reportUnknownVariableType]
            yield from references(value)


def resolved(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


# complete


def test_every_message_of_the_registry_is_in_it():
    told = {name: channel["address"] for name, channel in CHANNELS.items()}
    for name in COMMANDS:
        assert told.pop(f"commands.{name}") == f"acme.commands.{{tenant_id}}.{name}"
        assert told.pop(f"rpc.{name}") == f"acme.rpc.{{tenant_id}}.{name}"
    for name in BULK:
        assert told.pop(f"rpc.fleet.{name}") == f"acme.rpc.fleet.{name}"
    for fleet, name in QUESTIONS:
        scope, key = ("fleet", f"fleet.{name}") if fleet else ("{tenant_id}", name)
        assert told.pop(f"queries.{key}") == f"acme.queries.{scope}.{name}"
    for name in EVENTS:
        assert told.pop(f"events.{name}") == f"acme.events.{{tenant_id}}.{name}"
    assert told.pop("context") == "$KV.TENANT_CONTEXT.{tenant_id}"
    assert told.pop("dead_letters") == "acme.dead.{dead_tenant}.{stream}.{reason}"
    assert told == {"outcomes": None, "answers": None}


def test_every_channel_has_its_one_operation():
    for name, operation in OPERATIONS.items():
        assert operation["channel"] == {"$ref": f"#/channels/{name}"}
    assert set(CHANNELS) - set(OPERATIONS) == {"outcomes", "answers"}


def test_the_service_sends_events_the_context_and_dead_letters_and_receives_all_else():
    for name, operation in OPERATIONS.items():
        sends = name.startswith(("events.", "context", "dead_letters"))
        assert operation["action"] == ("send" if sends else "receive")
        assert ("reply" in operation) != sends


def test_every_parameter_of_an_address_is_explained():
    for channel in CHANNELS.values():
        named = set(re.findall(r"{(\w+)}", channel["address"] or ""))
        assert set(channel.get("parameters", {})) == named


def test_every_reference_leads_somewhere():
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        assert isinstance(resolved(reference), dict)


def test_streams_are_named():
    streams = {name: channel.get("x-jetstream", {}).get("stream") for name, channel in CHANNELS.items()}
    assert streams["commands.provision"] == "TENANT_COMMANDS"
    assert streams["events.tenant.activated"] == "TENANT_EVENTS"
    assert CHANNELS["context"]["x-jetstream"] == {"stream": "KV_TENANT_CONTEXT", "bucket": "TENANT_CONTEXT"}
    assert streams["dead_letters"] == "TENANT_DEAD_LETTERS"
    assert streams["rpc.provision"] is None


def test_personal_fields_are_marked():
    member = DOCUMENT["components"]["schemas"]["MemberInvited"]["properties"]
    assert member["email"]["x-personal"] is True
    assert "x-personal" not in member["role"]


# right


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("door", ["commands", "rpc"])
def test_commands_fit_it(door: str, name: str):
    order = packed(
        Request(TENANT, COMMAND_EXAMPLES[name], expected_version=3, actor="Ada", correlation_id="order 7")
    )
    told = MESSAGES[f"{door}.{name}"]
    fits(told["payload"], msgspec.json.decode(order.body))
    fits(told["headers"], order.headers)


@pytest.mark.parametrize("name", EVENTS)
def test_events_fit_it(name: str):
    meta = Meta(
        actor="Ada",
        correlation_id="order 7",
        causation_id="click",
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )
    state = encoded(EVENT_EXAMPLES[name], meta)
    sent = message(StoredEvent(7, TENANT, TENANT, 3, name, state, datetime.now(UTC)), Subjects("acme"))
    headers = jetstream.parsed_headers(f"NATS/1.0\r\n{sent.headers}".encode())
    told = MESSAGES[f"events.{name}"]
    fits(told["payload"], msgspec.json.decode(sent.body))
    fits(told["headers"], headers)
    known = DOCUMENT["components"]["schemas"]["EventHeaders"]["properties"]
    assert set(headers) <= set(known)


@pytest.mark.parametrize("status", Status)
def test_entries_of_the_live_context_fit_it(status: Status):
    state = evolve(None, EVENT_EXAMPLES["tenant.provisioning_started"])
    assert state is not None
    entry = context_of(TENANT, msgspec.structs.replace(state, status=status), 3, 7)
    fits(MESSAGES["context"]["payload"], msgspec.json.decode(msgspec.json.encode(entry)))


def test_outcomes_and_refusals_fit_it():
    done = rendered(completed(uuid4(), TENANT, 7, None, {}), 4711)
    fits(MESSAGES["outcome"]["payload"], msgspec.json.decode(done))
    for kind in REFUSALS.values():
        refusal = kind("No.", retry_after=1)
        fits(MESSAGES["rejected"]["payload"], msgspec.json.decode(rejected(None, "nobody", refusal)))
        fits(MESSAGES["problem"]["payload"], problem(refusal))
        fits(MESSAGES["problem"]["headers"], {names.ERROR: kind.problem, names.ERROR_CODE: str(kind.status)})


@pytest.mark.parametrize(
    ("message_name", "payload"),
    [
        ("commands.provision", {"name": "Acme"}),
        (
            "commands.provision",
            {**msgspec.json.decode(packed(Request(TENANT, COMMAND_EXAMPLES["provision"])).body), "x": 1},
        ),
        ("commands.update_profile", {}),
        ("commands.update_profile", {"subdomain": "Not A Label"}),
        ("commands.suspend", {"reason": ""}),
        ("events.tenant.activated", {}),
        ("outcome", {"status": "rejected"}),
        ("queries.operation", {"operation_id": 7}),
        ("context", {"tenant_id": str(TENANT), "status": "gone", "version": 3, "position": 7}),
    ],
)
def test_what_does_not_fit_is_told_by_it(message_name: str, payload: dict[str, Any]):
    whole = {**MESSAGES[message_name]["payload"], "components": DOCUMENT["components"]}
    assert not Draft202012Validator(whole).is_valid(payload)


# valid


def parsed(document: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Return what the official parser says; only where npm has no registry to reach it is not asked."""
    try:
        return diagnostics(msgspec.json.encode(document))
    except NoRegistry as error:
        if os.environ.get("DOCUMENTS") == "required":
            raise
        pytest.skip(f"npm cannot install the official parser (`make documents` insists): {error}")


def test_the_official_parser_has_nothing_to_say():
    assert parsed(DOCUMENT) == ([], len(OPERATIONS))


def test_the_official_parser_would_say_something():
    broken = {**DOCUMENT, "operations": {"lost": {"action": "send", "channel": {"$ref": "#/channels/none"}}}}
    assert parsed(broken)[0]
