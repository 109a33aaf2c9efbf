"""The role `relay`: committed events to TENANT_EVENTS, what they made of tenants to TENANT_CONTEXT, what was
given up to TENANT_DEAD_LETTERS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client

from handlers.adapters.beats import Beats
from handlers.adapters.hints import CommitListener
from handlers.adapters.keyring import Keyring
from handlers.adapters.tasks import end, watched
from handlers.relay import replacing
from handlers.relay.advisories import AdvisoryWatcher
from handlers.relay.context import ContextRelay
from handlers.relay.dead_letters import MONTH, DeadLetterRelay
from handlers.relay.events import EventRelay
from handlers.relay.metrics import RelayMetrics
from handlers.relay.replacing import Recreate
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Streams, Subjects


class RelayRole:
    """Relays from `start` to `stop`; any number of them may run. Connection and store are their owner's.

    `keyring` seals the bodies of dead letters. `declare` makes the streams that are missing. `window` is in
    events, `poll` in seconds (see EventRelay), and so is `letter_retention` (see DeadLetterRelay). `recreate`
    makes the stream of events anew (see EventRelay).
    """

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        keyring: Keyring,
        subjects: Subjects,
        streams: Streams,
        declare: Callable[[], Awaitable[object]],
        *,
        window: int = 1000,
        poll: float = 1.0,
        letter_retention: float = MONTH,
        metrics: RelayMetrics | None = None,
        commits: CommitListener | None = None,
        beats: Beats | None = None,
        recreate: Recreate | None = None,
    ) -> None:
        beats = beats or Beats()
        counted = metrics or RelayMetrics()
        heard = commits or CommitListener(nc, subjects.hint("committed"))
        self._events = EventRelay(
            nc,
            store,
            subjects,
            streams.events,
            declare,
            window=window,
            poll=poll,
            metrics=counted,
            commits=heard,
            beat=beats.engine("relay of events"),
            recreate=recreate,
        )
        self._context = ContextRelay(
            nc,
            store,
            subjects,
            streams,
            declare,
            poll=poll,
            metrics=counted,
            commits=heard,
            beat=beats.engine("relay of the live context"),
        )
        self._letters = DeadLetterRelay(
            nc,
            store,
            subjects,
            streams,
            declare,
            poll=poll,
            retention=letter_retention,
            metrics=counted,
            beat=beats.engine("relay of dead letters"),
        )
        self._advisories = AdvisoryWatcher(
            nc, store, keyring, subjects, streams, beat=beats.engine("watch over advisories")
        )
        self._nc, self._stream = nc, streams.events
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Begin; does not wait for the database, nor for the streams."""
        self._tasks = [
            watched(self._events.run(), "relay of events"),
            watched(self._context.run(), "relay of the live context"),
            watched(self._letters.run(), "relay of dead letters"),
            watched(self._advisories.run(), "watch over advisories"),
            watched(replacing.watch(self._nc, self._stream), "watch over consumers to be put back"),
        ]

    async def stop(self) -> None:
        """Stop at once: whatever was not acknowledged is published again by whoever goes on."""
        await end(*self._tasks)
