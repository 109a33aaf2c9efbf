"""Folding a batch of the log into the rows of one read model, by stream, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from handlers.store.event_store import StoredEvent
from projections.read_model import ReadModel, Standing
from tenant_domain.decision import Event

Row = tuple[Any, ...]


NUL = b"\\u0000"
"""How JSON writes the one character that a text of PostgreSQL cannot hold."""


class Parked(NamedTuple):
    """A stream that a read model cannot go on with, the event at which it stopped, and why."""

    stream_id: UUID
    tenant_id: UUID
    position: int
    version: int
    topic: str
    error: str


class Folded(NamedTuple):
    """The rows that a batch changed, and the streams that it parked."""

    rows: list[Row]
    parked: list[Parked]


class Unrendered(Exception):
    """A state could not be made into a row; which event is to blame is not known."""


class Folding:
    """The fold of one read model, and where its last streams stand; `capacity` bounds how many it remembers.

    What it remembers is ahead of the table until a batch is written: `forget` when that fails.
    `decode` makes an event of its stored name and body (handlers/wire/events.py).
    """

    def __init__(self, model: ReadModel, capacity: int, decode: Callable[[str, bytes], Event]) -> None:
        self._model = model
        self._capacity = capacity
        self._decode = decode
        self._standings: dict[UUID, Standing] = {}
        self._changed: dict[UUID, Standing] = {}
        self._parked: list[Parked] = []

    def missing(self, events: Iterable[StoredEvent]) -> set[UUID]:
        """Return the streams of `events` that the table may have a row of, and that are not remembered."""
        born: set[UUID] = set()
        missing: set[UUID] = set()
        for event in events:
            stream = event.stream_id
            if event.version == 1:
                born.add(stream)
            elif stream not in born and stream not in self._standings:
                missing.add(stream)
        return missing

    def remember(self, rows: Iterable[Row]) -> None:
        """Take rows of the table (columns STANDING) into memory."""
        for row in rows:
            standing = self._model.standing(row)
            self._standings[standing.stream_id] = standing

    def forget(self) -> None:
        """Drop everything remembered, and what was not collected yet."""
        self._standings.clear()
        self._changed.clear()
        self._parked.clear()

    def fold(self, events: Sequence[StoredEvent], *, carefully: bool) -> None:
        """Fold `events`, all of this read model and in order.

        An event that cannot be folded parks its stream: the row stays as it was before, with the position of
        that event in `parked`, and later events of the stream are passed over. Carefully means that each
        state is made into a row at once, so that an event that leads to an impossible row is found too;
        one that brings a NUL, the only known reason for such a row, is always met with care.
        """
        for event in events:
            standing = self._standing(event)
            if standing.parked or event.version <= standing.version:
                continue
            try:
                self._advance(standing, event, carefully)
            except Exception as error:  # noqa: BLE001 whatever it is, it must not stop the read model
                standing.parked = event.position
                self._parked.append(_parked(event, error))
            if standing.state is not None:
                self._changed[event.stream_id] = standing

    def collect(self) -> Folded:
        """Return what is to be written since the last time, and drop the streams beyond the capacity.

        Raises Unrendered when a state cannot be made into a row, which a careful fold never leads to.
        """
        try:
            rows = [self._model.row(standing) for standing in self._changed.values()]
        except Exception as error:
            raise Unrendered(str(error)) from error
        folded = Folded(rows, self._parked)
        self._changed, self._parked = {}, []
        for stream in list(islice(self._standings, max(len(self._standings) - self._capacity, 0))):
            del self._standings[stream]
        return folded

    def _standing(self, event: StoredEvent) -> Standing:
        stream = event.stream_id
        standing = self._standings.get(stream)
        if standing is None:
            standing = self._model.begin(stream, event.tenant_id, event.position, event.recorded_at)
            self._standings[stream] = standing
        return standing

    def _advance(self, standing: Standing, event: StoredEvent, carefully: bool) -> None:
        if event.version != standing.version + 1:
            raise ValueError(f"version {event.version} follows {standing.version}")
        version, at, state = standing.version, standing.updated_at, standing.state
        self._model.advance(
            standing, event.version, event.recorded_at, self._decode(event.topic, event.state)
        )
        if carefully or NUL in event.state:
            try:
                self._model.row(standing)
            except Exception:
                standing.version, standing.updated_at, standing.state = version, at, state
                raise


def refolded(model: ReadModel, rows: Iterable[Row], decode: Callable[[str, bytes], Event]) -> Folded:
    """Fold one stream from its beginning; `rows` are its events, with the values of StoredEvent."""
    folding = Folding(model, 1, decode)
    folding.fold(list(map(StoredEvent._make, rows)), carefully=True)
    return folding.collect()


def _parked(event: StoredEvent, error: Exception) -> Parked:
    """Return the parking at `event`. The reason names what went wrong, not the data: that may be personal."""
    reason = f"{type(error).__name__}: {error}"[:500]
    return Parked(event.stream_id, event.tenant_id, event.position, event.version, event.topic, reason)
