"""The role `projections`: a projector, its hints, and the building of read models that are not there yet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import nats.errors
import psycopg
import structlog
from nats.aio.client import Client

from handlers.adapters.beats import Beats
from handlers.adapters.hints import CommitListener
from handlers.adapters.tasks import end, watched
from handlers.projector.metrics import ProjectorMetrics
from handlers.projector.parking import parked_streams, retry
from handlers.projector.projector import Projector
from handlers.projector.rebuild import make
from handlers.store.connections import Connections
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore
from handlers.wire.hints import Moved, encoded
from handlers.wire.subjects import Subjects
from projections.read_model import ReadModel
from projections.registry import READ_MODELS
from tenant_domain.registry import EVENTS

log = structlog.get_logger()

REVIEW = 5.0
"""Seconds between two looks at what is parked: a version before this one may still be at work, and parks what
it does not know."""


class ProjectionsRole:
    """Keeps all read models at the log's end, from `start` to `stop`.

    `poll` and `takeover` are in seconds (see Projector), `batch` in events. The store is its owner's to open.
    """

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        postgres_url: str,
        subjects: Subjects,
        *,
        models: Sequence[ReadModel] = tuple(READ_MODELS.values()),
        batch: int = 1000,
        poll: float = 1.0,
        takeover: float = 0.5,
        metrics: ProjectorMetrics | None = None,
        commits: CommitListener | None = None,
        beats: Beats | None = None,
    ) -> None:
        self._nc = nc
        self._url = postgres_url
        self._commits = commits or CommitListener(nc, subjects.hint("committed"))
        self._listening = AsyncExitStack()
        self._projected, self._moved = subjects.hint("projected"), subjects.hint("moved")
        self._models = models
        self._metrics = metrics
        self._connections = Connections(
            postgres_url,
            readers=4,
            statement_timeout=30,
            lock_timeout=10,
            idle_timeout=5,
            pool_timeout=5,
            incarnation=store.incarnation,
        )
        self.projector = Projector(
            store,
            self._connections,
            models,
            self._announce,
            batch=batch,
            poll=poll,
            takeover=takeover,
            metrics=metrics,
            pulse=(beats or Beats()).engine("projector"),
        )
        self._made = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; does not wait for the database (see `ready`)."""
        await self._connections.open()
        await self._listening.enter_async_context(self._commits.heard_by(self._wake))
        self._tasks = [
            watched(self._make_missing(), "making of read models"),
            watched(self.projector.run(), "projector"),
            watched(self._review_parked(), "review of parked streams"),
        ]

    async def ready(self) -> None:
        """Return once all read models are there to be queried."""
        await self._made.wait()

    async def stop(self) -> None:
        """Stop at once: whatever was not committed is done again by whoever goes on."""
        await end(*self._tasks)
        await self._listening.aclose()
        await self._connections.close()

    def _wake(self, hint: bytes) -> None:
        if self._metrics is not None and hint.isdigit():
            self._metrics.heard(int(hint))
        self.projector.wake()

    async def _announce(self, position: int, moved: Sequence[Moved]) -> None:
        try:
            await self._nc.publish(self._projected, b"%d" % position)
            for each in moved:
                await self._nc.publish(self._moved, encoded(each))
        except (nats.errors.Error, OSError) as error:  # who waits looks for himself
            log.debug("hint not sent", error=repr(error))

    async def _review_parked(self) -> None:
        """Fold once what is parked at a fact that this version knows: the one that parked it may not have."""
        tried: set[tuple[str, UUID, int]] = set()
        await self._made.wait()
        while True:
            try:
                for model in self._models:
                    await self._review(model, tried)
            except (StoreError, psycopg.Error, OSError) as error:
                log.warning("parked streams wait for the database", error=str(error))
            await asyncio.sleep(REVIEW * random.uniform(0.8, 1.2))  # noqa: S311

    async def _review(self, model: ReadModel, tried: set[tuple[str, UUID, int]]) -> None:
        parked = await parked_streams(self._connections, model.name)
        found = {(model.name, each.stream_id, each.position) for each in parked if each.topic in EVENTS}
        if found - tried:
            await retry(self._connections, model)
            tried |= found
            self.projector.refresh()

    async def _make_missing(self) -> None:
        """Build what is not live, or was made by an older revision of the code."""
        missing = list(self._models)
        pause = 0.1
        while missing:
            try:
                await make(self._url, self._connections, missing[0])
            except (StoreError, psycopg.Error, OSError) as error:
                log.warning("read models wait for the database", error=str(error), pause=pause)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(pause * 2, 5.0)
            else:
                missing.pop(0)
                self.projector.refresh()
        self._made.set()
