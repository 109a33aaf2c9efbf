"""One generation of a read model that is being built from the log, until it takes the live one's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from handlers.projector.folding import Folded, Folding, Unrendered
from handlers.projector.tables import Place, Writer, Written, standings
from handlers.store.connections import Connections
from handlers.store.event_store import StoredEvent
from handlers.store.packing import uuids
from handlers.wire.events import event_of
from projections.read_model import ReadModel

_CHUNK = 20_000
"""Positions read and written at a time: 40 MB at the most, and enough to make round trips not count."""

_SLICE = 1000
"""Events folded before others in this process get a turn: some 10 ms."""

_NEAR = 2000
"""How near to the log's end is near enough for the swap: the rest is folded with the live one held."""

_REMEMBERED = 100_000
"""Streams in memory: with those that are at work at the same time in it, few are read back."""

_BEGIN = b"""
INSERT INTO service.projections (name, generation, revision)
SELECT %s, coalesce(max(generation), 0) + 1, %s FROM service.projections WHERE name = %s
RETURNING generation"""

_HEAD = b"SELECT position FROM service.event_head"

_HOLD = b"SELECT position FROM service.projections WHERE name = %s AND live FOR UPDATE"

_SWAP = (
    b"UPDATE service.projections SET live = false, epoch = epoch + 1 WHERE name = %(name)s AND live",
    b"UPDATE service.projections SET live = true WHERE name = %(name)s AND generation = %(generation)s",
)


class Building:
    """A generation that is being built; `events` and `parked` count."""

    def __init__(self, connections: Connections, place: Place) -> None:
        self.place = place
        self.events = 0
        self.parked = 0
        self._connections = connections
        self._folding = Folding(place.model, _REMEMBERED, event_of)
        self._writer = Writer(connections, [place])

    @classmethod
    async def begun(cls, connections: Connections, model: ReadModel) -> Building:
        """Make an empty generation."""
        async with connections.transaction() as transaction:
            cursor = await transaction.execute(_BEGIN, (model.name, model.revision, model.name))
            row = await cursor.fetchone()
            assert row is not None
            await transaction.execute(model.create(row[0]).encode())
        return cls(connections, Place(model, row[0], 0, 0))

    async def approach(self) -> None:
        """Bring the generation near to the log's end."""
        behind = _NEAR + 1
        while behind > _NEAR:
            ((head,),) = await self._connections.fetch(_HEAD, ())
            behind = head - self.place.position
            await self._catch_up(head)

    async def index(self, trigrams: str | None) -> None:
        """Make the indexes, and let the planner know the table."""
        model, table = self.place.model, self.place.model.table(self.place.generation)
        async with self._connections.transaction() as transaction:
            await transaction.execute(b"SET LOCAL statement_timeout = 0")
            for index in model.indexes:
                if "{trigrams}" in index and trigrams is None:
                    continue
                definition = index.replace("{trigrams}", f"{trigrams}.gin_trgm_ops")
                await transaction.execute(f"CREATE INDEX ON service.{table} {definition}".encode())
            await transaction.execute(f"ANALYZE service.{table}".encode())

    async def swap(self) -> bool:
        """Put the generation in the live one's place, unless the log has run too far ahead meanwhile.

        The live one is held, so that no reader ever sees an earlier position than before.
        """
        name = self.place.model.name
        async with self._connections.transaction() as transaction:
            row = await (await transaction.execute(_HOLD, (name,))).fetchone()
            if row is not None:
                if row[0] - self.place.position > _NEAR:
                    return False
                await self._catch_up(row[0])
            for statement in _SWAP:
                await transaction.execute(statement, {"name": name, "generation": self.place.generation})
        return True

    async def _catch_up(self, target: int) -> None:
        async with aclosing(self._chunks(target)) as chunks:
            async for upto, events in chunks:
                folded = await self._folded(events)
                await self._writer.write([Written(self.place, upto, folded)])
                self.place = self.place._replace(position=upto)
                self.events += len(events)
                self.parked += len(folded.parked)

    async def _chunks(self, target: int) -> AsyncGenerator[tuple[int, list[StoredEvent]]]:
        """Read on to `target`, always one chunk ahead of the fold."""
        start = self.place.position
        ends = [min(end, target) for end in range(start + _CHUNK, target + _CHUNK, _CHUNK)]
        ahead: asyncio.Task[list[StoredEvent]] | None = None
        try:
            for number, end in enumerate(ends):
                events = await (ahead or self._read(start, end))
                start, ahead = end, None
                if number + 1 < len(ends):
                    ahead = asyncio.create_task(self._read(end, ends[number + 1]))
                yield end, events
        finally:
            if ahead is not None:
                ahead.cancel()

    async def _read(self, after: int, upto: int) -> list[StoredEvent]:
        statement = (
            "SELECT notification_id, tenant_id, originator_id, originator_version, topic, state, recorded_at "  # noqa: S608
            "FROM service.events WHERE notification_id > %s AND notification_id <= %s "
            f"AND {self.place.model.where} ORDER BY notification_id"
        )
        rows = await self._connections.fetch(statement.encode(), (after, upto))
        return list(map(StoredEvent._make, rows))

    async def _folded(self, events: Sequence[StoredEvent]) -> Folded:
        try:
            await self._fold(events, carefully=False)
            return self._folding.collect()
        except Unrendered:
            self._folding.forget()
            await self._fold(events, carefully=True)
            return self._folding.collect()

    async def _fold(self, events: Sequence[StoredEvent], *, carefully: bool) -> None:
        missing = self._folding.missing(events)
        if missing:
            statement = standings(self.place.model, self.place.generation)
            self._folding.remember(await self._connections.fetch(statement, (uuids(missing),)))
        for start in range(0, len(events), _SLICE):
            self._folding.fold(events[start : start + _SLICE], carefully=carefully)
            await asyncio.sleep(0)
