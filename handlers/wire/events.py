"""Stored events: a fact's own fields and what came with it, under an explicit name, with a schema version.

A stored body is the JSON object {"v": schema version, "data": the fact's fields, "meta": …}. It is decoded
through the upcasters, so a body of any former version gives today's event.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from tenant_domain.decision import Event
from tenant_domain.registry import EVENTS, UPCASTERS


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came with the command, and goes on with every event that follows from it."""

    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class UnknownEvent(Exception):
    """The log holds an event that this version does not know, or in a newer version than it knows."""


class Stored(msgspec.Struct, frozen=True):
    """The body of a stored event, its data still as it was written."""

    v: int
    data: msgspec.Raw
    meta: Meta


class _Writing(msgspec.Struct, frozen=True):
    v: int
    data: Event
    meta: Meta


class _Carrying(msgspec.Struct, frozen=True):
    meta: Meta


_E = TypeVar("_E", bound=Event)


class _Reading(msgspec.Struct, Generic[_E], frozen=True):
    v: int
    data: _E


_encode = msgspec.json.Encoder().encode
_envelope = msgspec.json.Decoder(Stored).decode
_carrying = msgspec.json.Decoder(_Carrying).decode
_readers = {name: msgspec.json.Decoder(cls).decode for name, cls in EVENTS.items()}
_at_once = {name: (cls.schema, msgspec.json.Decoder(_Reading[cls]).decode) for name, cls in EVENTS.items()}
"""By stored name: today's schema version, and what reads a body of that version in one go."""


def encoded(event: Event, meta: Meta) -> bytes:
    """Return the stored body of `event`."""
    return _encode(_Writing(event.schema, event, meta))


def opened(state: bytes) -> Stored:
    """Return the parts of a stored body; `data` is the fact's fields as they were written."""
    return _envelope(state)


NOT_READABLE = (UnknownEvent, msgspec.MsgspecError, KeyError, ValueError, TypeError)
"""What comes of a stored event that this version cannot read: of another version, or broken."""


def why_unreadable(topic: str, error: Exception) -> str:
    """Return a reason that tells nothing of what the event holds: that may be personal."""
    if isinstance(error, UnknownEvent):
        return f"this version of the service does not know {error}"
    return f"what is stored is not a {topic} ({type(error).__name__})"


def traceparent_of(state: bytes) -> str | None:
    """Return the `traceparent` in a stored body; None for one without it, or one that is broken."""
    try:
        return _carrying(state).meta.traceparent
    except msgspec.DecodeError:
        return None


def decoded(name: str, version: int, data: bytes | msgspec.Raw) -> Event:
    """Return today's event from the fields of the fact stored as `name` in schema `version`.

    Raises UnknownEvent for a name or a version that this program does not know, and
    msgspec.ValidationError where the fields do not fit.
    """
    cls = EVENTS.get(name)
    if cls is None or version > cls.schema:
        raise UnknownEvent(f"{name} in version {version}")
    if version == cls.schema:
        return _readers[name](data)
    fields: dict[str, Any] = msgspec.json.decode(data)
    for former in range(version, cls.schema):
        fields = UPCASTERS[name, former](fields)
    return msgspec.convert(fields, cls)


def event_of(name: str, state: bytes) -> Event:
    """Return today's event from a stored name and body. Raises as `decoded`."""
    schema, read = _at_once.get(name, (0, None))
    if read is not None:
        try:
            stored = read(state)
        except msgspec.ValidationError:  # of another version, or broken: the long way finds out
            pass
        else:
            if stored.v == schema:
                return stored.data
    stored = _envelope(state)
    return decoded(name, stored.v, stored.data)
