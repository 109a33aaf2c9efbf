"""Entries of the live context: made from tenants' states, and as the messages that write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
import structlog

from handlers.relay.claims import Claim
from handlers.relay.cloud_events import Message
from handlers.relay.context_place import FORM_HEADER, time_of
from handlers.store.event_store import EventStore, Latest
from handlers.wire.events import UnknownEvent
from handlers.wire.headers import MSG_ID
from handlers.wire.subjects import Streams
from projections.context import Form, TenantContext, bare, context_of
from tenant_domain.tenant.decide import ref
from tenant_domain.tenant.state import Tenant

log = structlog.get_logger()

_UNFOLDABLE = (UnknownEvent, msgspec.MsgspecError, ValueError, LookupError, TypeError, AttributeError)

_encode = msgspec.json.Encoder().encode


class Entry(NamedTuple):
    """An entry, and when the event was recorded that it names."""

    context: TenantContext
    recorded_at: datetime

    def message(self, number: int, streams: Streams, form: Form, *, whole: bool = True) -> Message:
        """Return the message that writes it at sequence `number`: whole, or with the status alone.

        The ids of messages chain them together, and say when the event was recorded that the entry names.
        """
        context = self.context if whole else bare(self.context)
        name = f"{number}-{context.position}@{time_of(self.recorded_at)}"
        subject = streams.context_subject(str(context.tenant_id))
        headers = f"{MSG_ID}: {name}\r\n{FORM_HEADER}: {form}\r\n"
        return Message(number, name, subject, headers, _encode(context))

    def claim(self, size: int, reason: str) -> Claim:
        """Return what is to be told of an entry that is not written whole."""
        return Claim(self.context.position, self.context.tenant_id, size, reason)


def carried(
    entries: Iterable[Entry], sequence: int, streams: Streams, form: Form, largest: int
) -> tuple[list[Message], list[Claim]]:
    """Return the messages of entries, the first behind `sequence`, and which of them are not whole.

    Each has `largest` bytes at most.
    """
    messages: list[Message] = []
    claims: list[Claim] = []
    for number, entry in enumerate(entries, sequence + 1):
        message = entry.message(number, streams, form)
        if message.size > largest:
            claims.append(entry.claim(message.size, f"the servers carry {largest} bytes"))
            message = entry.message(number, streams, form, whole=False)
        messages.append(message)
    return messages, claims


async def entries_of(store: EventStore, changed: Sequence[Latest]) -> list[Entry]:
    """Return the entries of tenants that changed; of those that cannot be folded there is none."""
    states = await _states(store, [each.tenant_id for each in changed])
    return [
        Entry(
            context_of(each.tenant_id, states[each.tenant_id], each.version, each.position), each.recorded_at
        )
        for each in changed
        if each.tenant_id in states
    ]


async def _states(store: EventStore, tenants: Sequence[UUID]) -> dict[UUID, Tenant]:
    """Return the states of tenants; one that cannot be folded is left out, and its entry as it is."""
    try:
        loaded = await store.load([ref(tenant) for tenant in tenants])
    except _UNFOLDABLE as error:
        if len(tenants) == 1:
            log.error("entry of the live context left as it is", tenant_id=str(tenants[0]), error=repr(error))
            return {}
        middle = len(tenants) // 2
        return {**await _states(store, tenants[:middle]), **await _states(store, tenants[middle:])}
    return {stream: each.state for stream, each in loaded.items() if each.state is not None}
