"""All entries of the live context written once more, and what else stands in the bucket removed.

Nobody who reads or watches misses an entry meanwhile: each is replaced by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.tasks import end
from handlers.relay.context import ContextRelay
from handlers.relay.context_place import Place
from handlers.relay.outlet import NotStored
from handlers.store.event_store import EventStore
from projections.context import FACTS

LOOK = 0.1
"""Seconds between two reports of progress."""


async def rebuild(
    nc: Client,
    store: EventStore,
    relay: ContextRelay,
    stream: str,
    *,
    progress: Callable[[int, int], None] = lambda _position, _head: None,
) -> int:
    """Write every entry anew, and return up to which position.

    `relay` does it, and is not running yet; others may be, and go on with it. `progress` is called with the
    position reached and the last one. Raises StoreError, JetStreamError, and nats-py's errors: call it again.
    """
    changed = await store.latest(FACTS, 0, await store.head())
    last = changed[-1].position if changed else 0
    former = await _begun(relay)
    filling = asyncio.create_task(relay.run())
    try:
        while not filling.done():
            place = await relay.place()
            progress(min(place.position, last), last)
            if place.position >= last:
                break
            await asyncio.sleep(LOOK)
    finally:
        await end(filling)
    await jetstream.call(nc, f"STREAM.PURGE.{stream}", {"seq": former.sequence + 1})
    return last


async def _begun(relay: ContextRelay) -> Place:
    while True:
        try:
            return await relay.begin_anew()
        except NotStored:  # another relay was quicker
            await asyncio.sleep(LOOK)
