"""An event as a subscriber gets it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import msgspec
from nats.aio.msg import Msg

from handlers.wire import headers as names
from handlers.wire.events import NOT_READABLE, decoded
from tenant_domain.decision import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event. `event` is today's form of it; None for a type, or a version of one, not known here.

    `position` is its place in the order of all events: a subscriber that keeps it goes on from
    `position + 1`. `version` counts in its entity's own stream. `data` are its fields as JSON, as they
    were published, in the schema version `schema`.
    """

    position: int
    id: str
    type: str
    tenant_id: UUID
    version: int
    schema: int
    time: datetime
    event: Event | None
    data: bytes
    actor: str | None
    correlation_id: str | None
    causation_id: str | None
    traceparent: str | None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of `data`."""
        return msgspec.json.decode(self.data, type=dict[str, Any])


def received(message: Msg) -> ReceivedEvent:
    """Return the event in a message of TENANT_EVENTS. Raises KeyError where a header is missing."""
    headers = message.headers or {}
    name, schema = headers[names.CE_TYPE], int(headers[names.CE_SCHEMAVERSION])
    return ReceivedEvent(
        position=int(headers[names.CE_POSITION]),
        id=headers[names.CE_ID],
        type=name,
        tenant_id=UUID(headers[names.CE_SUBJECT]),
        version=int(headers[names.CE_STREAMVERSION]),
        schema=schema,
        time=datetime.fromisoformat(headers[names.CE_TIME]),
        event=_event(name, schema, message.data),
        data=message.data,
        actor=_text(headers.get(names.CE_ACTOR)),
        correlation_id=_text(headers.get(names.CE_CORRELATIONID)),
        causation_id=_text(headers.get(names.CE_CAUSATIONID)),
        traceparent=headers.get(names.TRACEPARENT),
    )


def _text(value: str | None) -> str | None:
    return None if value is None else unquote(value)


def _event(name: str, schema: int, data: bytes) -> Event | None:
    try:
        return decoded(name, schema, data)
    except NOT_READABLE:  # of a newer version, or without content
        return None
