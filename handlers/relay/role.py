"""The role `relay`: the log into TENANT_EVENTS, and given-up messages into TENANT_DEAD_LETTERS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from handlers.adapters import tasks
from handlers.relay.dead_letters import DeadLetterRelay
from handlers.relay.events import EventRelay
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Streams, Subjects


class RelayRole:
    """Relays from `start` to `stop`; see EventRelay and DeadLetterRelay for the parameters."""

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        postgres_url: str,
        subjects: Subjects,
        streams: Streams,
        declare: Callable[[], Awaitable[object]],
        registry: CollectorRegistry,
        *,
        window: int = 1000,
        poll: float = 1.0,
    ) -> None:
        self._events = EventRelay(
            nc, store, subjects, streams.events, declare, registry, window=window, poll=poll
        )
        self._letters = DeadLetterRelay(nc, postgres_url, subjects, streams, registry, poll=poll)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; a server that is away is waited for."""
        self._tasks = [
            asyncio.create_task(self._events.run(), name="relay of events"),
            asyncio.create_task(self._letters.run(), name="relay of dead letters"),
        ]

    async def stop(self) -> None:
        """Stop at once: what was not acknowledged is published again by whoever goes on."""
        await tasks.end(*self._tasks)
