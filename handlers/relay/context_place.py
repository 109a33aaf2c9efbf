"""Where the bucket of the live context is: its last entry says up to which position the log is in it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import StreamMessage
from handlers.store.event_store import EventStore
from handlers.wire.headers import MSG_ID
from handlers.wire.subjects import Streams
from projections.context import Form, TenantContext

log = structlog.get_logger()

FORM_HEADER = "Context-Form"
"""The header of an entry that says in which form it was made."""

_decode = msgspec.json.Decoder(TenantContext).decode


class Place(NamedTuple):
    """Where a bucket (made at `created`) is: its stream's last sequence, and the position it includes.

    `form` is that of the last entry.
    """

    created: str
    sequence: int
    position: int
    form: Form = Form.parsed("")

    def is_before(self, form: Form) -> bool:
        """Return whether the entries were made by a version before that of `form`."""
        return self.position > 0 and self.form < form


async def place_of(
    nc: Client, store: EventStore, streams: Streams, known: Place | None = None
) -> Place | None:
    """Return where the bucket is, which is still as `known` unless it has moved; None when there is none.

    Raises JetStreamError, StoreError, and nats-py's errors.
    """
    info = await jetstream.stream_info(nc, streams.context_stream)
    if info is None:
        return None
    created, sequence = info["created"], info["state"]["last_seq"]
    if known is not None and known[:2] == (created, sequence):
        return known
    last = await jetstream.last_message(nc, streams.context_stream, streams.context_subject(">"))
    form = Form.parsed(last.headers.get(FORM_HEADER, "") if last else "")
    return Place(created, sequence, await _position_of(last, store), form)


async def _position_of(last: StreamMessage | None, store: EventStore) -> int:
    """Return the position of the last entry; 0 for what the log does not have like this."""
    if last is None:
        return 0
    try:
        entry = _decode(last.body)
    except (msgspec.ValidationError, msgspec.DecodeError):
        entry = None
    if entry is not None and entry.position > 0:
        for event in await store.read(entry.position - 1, 1):
            there = (event.stream_id, event.version) == (entry.tenant_id, entry.version)
            _, _, time = last.headers.get(MSG_ID, "").rpartition("@")
            if there and time in ("", time_of(event.recorded_at)):  # a former version told no time
                return entry.position
    log.warning("last entry of the live context is not the log's", sequence=last.sequence)
    return 0


def time_of(recorded_at: datetime) -> str:
    """Return what tells an event from one that had its stream, version and position before a failover."""
    return f"{recorded_at:%Y%m%d%H%M%S.%f}"
