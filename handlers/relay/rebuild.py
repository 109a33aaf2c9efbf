"""TENANT_EVENTS made anew from the log: the same ids, positions and bytes; its durable consumers go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.tasks import end
from handlers.relay.events import EventRelay
from handlers.relay.likeness import first_difference
from handlers.relay.replacing import Recreate, replace
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Subjects

LOOK = 0.1
"""Seconds between two reports of progress."""


class BeyondTheLog(ValueError):
    """The stream cannot begin where it is asked to: the log has no such position."""


async def rebuild(
    nc: Client,
    store: EventStore,
    relay: EventRelay,
    subjects: Subjects,
    stream: str,
    recreate: Recreate,
    *,
    first: int = 1,
    progress: Callable[[int, int], None] = lambda _position, _head: None,
) -> int:
    """Make the stream anew from position `first` on, and return up to where it was filled.

    `recreate` deletes the stream and makes it again with the given first sequence. `relay` fills it; others
    may be running. `progress` is called with the position reached and the log's end. Raises BeyondTheLog for
    such a `first`; StoreUnavailable, JetStreamError, and nats-py's errors: call it again then.
    """
    head = await store.head()
    if not 1 <= first <= head + 1:
        raise BeyondTheLog(f"the log has positions 1 to {head}, so no stream begins at {first}")
    same = await _same(nc, store, stream)
    await relay.claims.forget()
    await replace(nc, subjects, stream, recreate, first, same=same)
    await _fill(nc, relay, stream, head, progress)
    return head


async def _same(nc: Client, store: EventStore, stream: str) -> int | None:
    """Return the position up to which the stream holds what the log has; None for all of it."""
    info = await jetstream.stream_info(nc, stream)
    other = await first_difference(nc, store, stream, info, thorough=True) if info else None
    return None if other is None else other - 1


async def _fill(
    nc: Client, relay: EventRelay, stream: str, head: int, progress: Callable[[int, int], None]
) -> None:
    filling = asyncio.create_task(relay.run())
    try:
        while not filling.done():
            info = await jetstream.stream_info(nc, stream)
            position: int = info["state"]["last_seq"] if info else 0
            progress(position, head)
            if position >= head:
                return
            await asyncio.sleep(LOOK)
    finally:
        await end(filling)
