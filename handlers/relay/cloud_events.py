"""A committed event as the message it becomes: CloudEvents 1.0, NATS binding, binary mode.

Everything here follows from the stored row alone, so a rebuilt stream has the same bytes.

What no message can carry becomes a claim check (CloudEvents' extension `dataref`): the same id, headers and
place, no content, and the address where the fact is found.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from handlers.store.event_store import StoredEvent
from handlers.wire import headers as names
from handlers.wire.events import Meta, opened
from handlers.wire.subjects import Subjects

_PLAIN = re.compile(r"[!#$&-~]*").fullmatch
_SAFE = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_UTC_OFFSET = "+00:00"


class Message(NamedTuple):
    """A message to be published: `headers` are its lines, each with its end, without first and last line."""

    position: int
    id: str
    subject: str
    headers: str
    body: bytes

    @property
    def size(self) -> int:
        """The bytes of headers and body; headers are ASCII."""
        return len(self.headers) + len(self.body)


_HEADERS = "".join(
    f"{name}: {value}\r\n"
    for name, value in (
        (names.MSG_ID, "%(id)s"),
        (names.CE_SPECVERSION, "1.0"),
        (names.CE_ID, "%(id)s"),
        (names.CE_SOURCE, "/%(prefix)s"),
        (names.CE_TYPE, "%(topic)s"),
        (names.CE_SUBJECT, "%(tenant)s"),
        (names.CE_TIME, "%(time)s"),
        ("%(about_data)s", "%(value)s"),
        (names.CE_POSITION, "%(position)d"),
        (names.CE_STREAMVERSION, "%(version)d"),
        (names.CE_SCHEMAVERSION, "%(schema)d"),
    )
)


def message(event: StoredEvent, subjects: Subjects) -> Message:
    """Return the message of a stored event. Raises msgspec.DecodeError for a body that is none."""
    stored = opened(event.state)
    head = _head(event, subjects, stored.v, names.CE_DATACONTENTTYPE, "application/json")
    return head._replace(headers=head.headers + _carried(stored.meta), body=bytes(stored.data))


def claim_check(event: StoredEvent, subjects: Subjects) -> Message:
    """Return the message without content of a stored event; its schema version is 0 where it has none."""
    at = f"from_position={event.position}&to_position={event.position}"
    where = f"/api/v1/tenants/{event.tenant_id}/history?{at}"
    try:
        stored = opened(event.state)
    except (msgspec.MsgspecError, UnicodeError):
        return _head(event, subjects, 0, names.CE_DATAREF, where)
    head = _head(event, subjects, stored.v, names.CE_DATAREF, where)
    return head._replace(headers=head.headers + _carried(stored.meta))


def _head(event: StoredEvent, subjects: Subjects, schema: int, about_data: str, value: str) -> Message:
    """Return what all messages have, and one header: of what kind the content is, or where."""
    time = _rfc3339(event.recorded_at)
    tenant = str(event.tenant_id)
    event_id = _event_id(event, time)
    headers = _HEADERS % {
        "id": event_id,
        "prefix": subjects.prefix,
        "topic": event.topic,
        "tenant": tenant,
        "time": time,
        "about_data": about_data,
        "value": value,
        "position": event.position,
        "version": event.version,
        "schema": schema,
    }
    return Message(event.position, event_id, subjects.event(tenant, event.topic), headers, b"")


def event_id(event: StoredEvent) -> str:
    """Return the event's id: a UUID (version 8) of its stream, version and time.

    The time is in it so that an event lost when a backup was restored never lends its id to another one.
    """
    return _event_id(event, _rfc3339(event.recorded_at))


def _event_id(event: StoredEvent, time: str) -> str:
    seed = b"%b %d %b" % (event.stream_id.bytes, event.version, time.encode())
    digits = blake2b(seed, digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


@lru_cache(maxsize=16)  # the events of a commit have one time
def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix(_UTC_OFFSET) + "Z"


def _carried(meta: Meta) -> str:
    lines = ""
    if meta.correlation_id is not None:
        lines += f"{names.CE_CORRELATIONID}: {escaped(meta.correlation_id)}\r\n"
    if meta.causation_id is not None:
        lines += f"{names.CE_CAUSATIONID}: {escaped(meta.causation_id)}\r\n"
    if meta.actor is not None:
        lines += f"{names.CE_ACTOR}: {escaped(meta.actor)}\r\n"
    if meta.traceparent is not None:
        trace = escaped(meta.traceparent)
        lines += f"{names.CE_TRACEPARENT}: {trace}\r\n{names.TRACEPARENT}: {trace}\r\n"
    return lines


def escaped(value: str) -> str:
    """Return a header's value percent-encoded as CloudEvents' bindings want it, in visible ASCII."""
    return value if _PLAIN(value) else quote(value, safe=_SAFE)
