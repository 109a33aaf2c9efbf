"""Building a read model anew beside the live one, and the swap.

Queries name the generation they read, and read only while it is live; so the swap is one short transaction
over two rows, and the old table is dropped behind whoever still reads it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, asynccontextmanager
from multiprocessing import get_context
from typing import NamedTuple

import psycopg
import structlog

from handlers.projector.folding import Folded, Folding, Unrendered
from handlers.projector.tables import Place, Writer, Written, standings
from handlers.store.connections import Connections
from handlers.store.errors import StoreError
from handlers.store.event_store import StoredEvent
from handlers.store.packing import uuids
from handlers.wire.events import event_of
from projections.read_model import ReadModel
from projections.registry import READ_MODELS

log = structlog.get_logger()

_LOCK = 0x7E4A
"""The advisory lock's first key; the second is the read model's name. Any constant that nobody else uses."""

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

_DEAD = b"SELECT generation FROM service.projections WHERE name = %s AND NOT live"

_HEAD = b"SELECT position FROM service.event_head"

_HOLD = b"SELECT position FROM service.projections WHERE name = %s AND live FOR UPDATE"

_SWAP = (
    b"UPDATE service.projections SET live = false, epoch = epoch + 1 WHERE name = %(name)s AND live",
    b"UPDATE service.projections SET live = true WHERE name = %(name)s AND generation = %(generation)s",
)

_FORGET = (
    b"DELETE FROM service.projection_parked WHERE name = %(name)s AND generation = %(generation)s",
    b"DELETE FROM service.projections WHERE name = %(name)s AND generation = %(generation)s",
)

_TRIGRAMS = b"""
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_trgm'"""


class Rebuilt(NamedTuple):
    """What came of a rebuild: `events` is how many of the log were the read model's own."""

    name: str
    generation: int
    position: int
    events: int
    parked: int


async def rebuild(postgres_url: str, connections: Connections, model: ReadModel) -> Rebuilt:
    """Build `model` from the whole log beside its live generation, and put it in that one's place.

    Waits for another rebuild of the same model, wherever it runs. Raises StoreError and psycopg.Error; the
    live generation then stays, and what was begun is cleared away by the next rebuild.
    """
    async with _alone(postgres_url, model.name), _uncollected():
        await clear(connections, model)
        building = await _Building.begun(connections, model)
        await building.approach()
        await building.index(await _trigrams(connections))
        while not await building.swap():
            await building.approach()
        await clear(connections, model)
    log.info("read model rebuilt", read_model=model.name, generation=building.place.generation)
    return Rebuilt(
        model.name, building.place.generation, building.place.position, building.events, building.parked
    )


async def rebuild_apart(postgres_url: str, models: Sequence[ReadModel]) -> list[Rebuilt]:
    """Rebuild several read models at once, each in a process of its own: one after another takes longer.

    Raises what `rebuild` raises.
    """
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(len(models), mp_context=get_context("spawn")) as processes:
        building = [
            loop.run_in_executor(processes, _rebuild_by_name, postgres_url, model.name) for model in models
        ]
        return list(await asyncio.gather(*building))


def _rebuild_by_name(postgres_url: str, name: str) -> Rebuilt:
    """Rebuild in a process that has nothing yet (a read model itself cannot be sent there)."""

    async def run() -> Rebuilt:
        connections = Connections(
            postgres_url, readers=4, statement_timeout=30, lock_timeout=10, idle_timeout=5, pool_timeout=5
        )
        await connections.open()
        try:
            return await rebuild(postgres_url, connections, READ_MODELS[name])
        finally:
            await connections.close()

    return asyncio.run(run())


async def clear(connections: Connections, model: ReadModel) -> None:
    """Drop generations of `model` that are not live: former ones, and those of a rebuild that died.

    Only for who holds the model's lock. A table that somebody reads for long is left to the next time.
    """
    for (generation,) in await connections.fetch(_DEAD, (model.name,)):
        try:
            async with connections.transaction() as transaction:
                await transaction.execute(b"SET LOCAL lock_timeout = '1s'")
                await transaction.execute(f"DROP TABLE IF EXISTS service.{model.table(generation)}".encode())
                for statement in _FORGET:
                    await transaction.execute(statement, {"name": model.name, "generation": generation})
        except StoreError as error:
            log.warning("old table stays", read_model=model.name, generation=generation, error=str(error))


class _Building:
    """A generation that is being built; `events` and `parked` count."""

    def __init__(self, connections: Connections, place: Place) -> None:
        self.place = place
        self.events = 0
        self.parked = 0
        self._connections = connections
        self._folding = Folding(place.model, _REMEMBERED, event_of)
        self._writer = Writer(connections, [place])

    @classmethod
    async def begun(cls, connections: Connections, model: ReadModel) -> _Building:
        """Make an empty generation."""
        async with connections.transaction() as transaction:
            cursor = await transaction.execute(_BEGIN, (model.name, model.revision, model.name))
            row = await cursor.fetchone()
            assert row is not None
            await transaction.execute(model.create(row[0]).encode())
        return cls(connections, Place(model, row[0], 0, 0))

    async def approach(self) -> None:
        """Bring the generation near to the log's end."""
        head = 0
        while head - self.place.position > _NEAR or head == 0:
            head = (await self._connections.fetch(_HEAD, ()))[0][0]
            await self._catch_up(head)
            if head == 0:
                break

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


async def _trigrams(connections: Connections) -> str | None:
    """Return the schema that pg_trgm is in, making it where possible; None without it: then search scans."""
    try:
        async with connections.transaction() as transaction:
            await transaction.execute(b"CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA service")
    except (StoreError, psycopg.Error) as error:
        log.warning("search without an index", error=str(error))
    rows = await connections.fetch(_TRIGRAMS, ())
    return rows[0][0] if rows else None


@asynccontextmanager
async def _uncollected() -> AsyncGenerator[None]:
    """Keep the cycle collector off: what is folded has no cycles, and looking for some doubles the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@asynccontextmanager
async def _alone(postgres_url: str, name: str) -> AsyncGenerator[None]:
    """Hold the model's lock, on a connection of its own: it goes when the process does."""
    connecting = psycopg.AsyncConnection.connect(postgres_url, autocommit=True, connect_timeout=5)
    async with await connecting as connection:
        taken = False
        while not taken:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK, name))
            row = await cursor.fetchone()
            taken = row is not None and row[0]
            await asyncio.sleep(0 if taken else 0.2)
        yield
