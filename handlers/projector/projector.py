"""The live projector: it reads the log by position and writes all read models, rows and positions together.

Any number of projectors may run. Each batch is written by compare-and-set on the positions, so of two that
take the same events one is outrun. That one stands by: it looks now and then whether the log is ahead while
the read models do not move, and only then goes to work again. No lease is needed, and a paused process holds
nothing up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import structlog

from handlers import tracing
from handlers.adapters.beats import Beat, Beats
from handlers.projector.folding import Folding
from handlers.projector.metrics import ProjectorMetrics
from handlers.projector.tables import LIVE, Outrun, Place, Writer, Written, folded
from handlers.store.connections import Connections
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore, StoredEvent, may_go_on
from handlers.wire.events import event_of, traceparent_of
from handlers.wire.hints import MOST_STREAMS, Moved
from projections.read_model import ReadModel

log = structlog.get_logger()


class _Line(NamedTuple):
    """One read model at work: where it is, and its fold."""

    place: Place
    folding: Folding


class Projector:
    """Keeps the live generations of `models` at the log's end.

    `announce` is told each position that was reached, after its commit, and which rows changed; and every
    `beat` seconds without work that nothing did. `batch` bounds the events of one
    transaction: it bounds memory, and how long a reader of the projections' rows could wait. `remembered`
    is how many streams of each read model stay in memory, about 2 KiB each. `poll` is how long it waits for
    a hint (`wake`), `takeover` how long the read models may stand still before one that stands by steps in.
    `pulse` is told of each round.
    """

    def __init__(
        self,
        store: EventStore,
        connections: Connections,
        models: Sequence[ReadModel],
        announce: Callable[[int, Sequence[Moved]], Awaitable[None]],
        *,
        batch: int = 2000,
        remembered: int = 20_000,
        poll: float = 1.0,
        takeover: float = 0.5,
        beat: float = 0.1,
        metrics: ProjectorMetrics | None = None,
        pulse: Beat | None = None,
    ) -> None:
        self._pulse = pulse or Beats().engine("projector")
        self._store = store
        self._connections = connections
        self._models = {model.name: model for model in models}
        self._announce = announce
        self._batch = batch
        self._remembered = remembered
        self._poll = poll
        self._takeover = takeover
        self._beat = beat
        self._metrics = metrics
        self._lines: list[_Line] = []
        self._writer: Writer | None = None
        self._stale = True
        self._standing_by = False
        self._behind = False
        self._woken = asyncio.Event()
        self._incarnation = 0
        connections.incarnation.heard_by(self.refresh)

    @property
    def position(self) -> int:
        """The position that all read models at work include, as far as this projector knows."""
        return min((line.place.position for line in self._lines), default=0)

    @property
    def standing_by(self) -> bool:
        """Whether another projector does the work."""
        return self._standing_by

    def wake(self) -> None:
        """Look at once: something was committed."""
        self._woken.set()

    def refresh(self) -> None:
        """Learn anew what is live before the next batch."""
        self._stale = True
        self._woken.set()

    async def reload(self) -> None:
        """Learn anew which generations are live and how far they are; whatever was remembered is dropped."""
        self._stale = False
        self._incarnation = self._connections.incarnation.number
        rows = await self._connections.fetch(LIVE, ())
        self._lines = []
        for name, generation, epoch, position, revision in rows:
            model = self._models.get(name)
            if model is not None and model.revision == revision:
                place = Place(model, generation, epoch, position)
                self._lines.append(_Line(place, Folding(model, self._remembered, event_of)))
                if self._metrics is not None:
                    self._metrics.at(name, position)
        self._writer = (
            Writer(self._connections, [line.place for line in self._lines]) if self._lines else None
        )

    async def run(self) -> None:
        """Project until cancelled, whatever becomes of the database."""
        pause = 0.05
        while True:
            try:
                await self._once()
            except (StoreError, OSError) as error:
                log.warning("projector waits for the database", error=str(error), pause=pause)
            except Exception as error:  # noqa: BLE001 a bug must not end an engine, only slow it down
                log.error("projector failed", error=repr(error), pause=pause)
            else:
                pause = 0.05
                self._pulse.well()
                continue
            self._stale = True
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, 2.0)

    async def _once(self) -> None:
        if self._standing_by:
            await self._stand_by()
            return
        self._woken.clear()
        if self._stale:
            await self.reload()
        await self.step()
        if not self._behind:
            await self._wait()

    async def step(self) -> bool:
        """Project the next batch; returns whether there was one."""
        self._behind = False
        if self._writer is None:
            return False
        incarnation = self._incarnation
        events = await self._store.read(self.position, self._batch)
        self._behind = may_go_on(events, self._batch)  # else whatever follows is hinted at
        if not events:
            return False
        try:
            with _traced(events):
                written = [await self._folded(line, events) for line in self._lines]
                await self._writer.write(written, incarnation)
        except Outrun:
            await self._outrun()
            return True
        self._lines = [
            _Line(line.place._replace(position=each.position), line.folding)
            for line, each in zip(self._lines, written, strict=True)
        ]
        self._report(written)
        await self._announce(self.position, [_moved(each) for each in written if each.place.model.kept])
        return True

    async def _folded(self, line: _Line, events: Sequence[StoredEvent]) -> Written:
        place, folding = line
        concerns = place.model.concerns
        own = [
            event
            for event in events
            if event.position > place.position and concerns(event.topic, event.stream_id, event.tenant_id)
        ]
        rows = await folded(self._connections, place, folding, own)
        return Written(place, max(place.position, events[-1].position), rows)

    def _report(self, written: Sequence[Written]) -> None:
        if self._metrics is not None:
            self._metrics.wrote(written)
        for each in written:
            for parked in each.folded.parked:
                log.error(
                    "stream parked",
                    read_model=each.place.model.name,
                    tenant_id=str(parked.tenant_id),
                    stream_id=str(parked.stream_id),
                    position=parked.position,
                    topic=parked.topic,
                    error=parked.error,
                )

    async def _outrun(self) -> None:
        """Another moved the read models: stand by, unless it only swapped or mended one of them."""
        self._behind = True
        if self._metrics is not None:
            self._metrics.outrun()
        before = {line.place.model.name: line.place for line in self._lines}
        await self.reload()
        same = all(
            (was := before.get(line.place.model.name)) is not None
            and (was.generation, was.epoch) == (line.place.generation, line.place.epoch)
            for line in self._lines
        )
        if same:
            self._standing_by = True
            log.info("projector stands by", position=self.position)

    async def _stand_by(self) -> None:
        await asyncio.sleep(self._takeover)
        before = self.position
        await self.reload()
        if self.position == before and await self._store.head() > before:
            self._standing_by = False
            log.info("projector takes over", position=before)

    async def _wait(self) -> None:
        """Wait for a hint, at most until the next poll; then see whether a read model was swapped."""
        for _ in range(max(1, round(self._poll / self._beat))):
            try:
                async with asyncio.timeout(min(self._beat, self._poll)):
                    await self._woken.wait()
                return
            except TimeoutError:
                await self._announce(
                    self.position, [_still(line.place) for line in self._lines if line.place.model.kept]
                )
        known = {(line.place.model.name, line.place.generation, line.place.epoch) for line in self._lines}
        rows = await self._connections.fetch(LIVE, ())
        self._stale = self._stale or known != {tuple(row[:3]) for row in rows}


def _traced(events: Sequence[StoredEvent]) -> AbstractContextManager[object]:
    """Make a span of projecting `events`, with a link to the command of each."""
    if not tracing.on:
        return nullcontext()
    attributes = {"tenants.events": len(events), "tenants.position": events[-1].position}
    return tracing.batched("project events", (traceparent_of(each.state) for each in events), attributes)


def _moved(written: Written) -> Moved:
    place, rows = written.place, written.folded.rows
    streams = [str(row[0]) for row in rows] if len(rows) <= MOST_STREAMS else None
    return Moved(place.model.name, place.generation, place.epoch, place.position, written.position, streams)


def _still(place: Place) -> Moved:
    return Moved(place.model.name, place.generation, place.epoch, place.position, place.position, [])
