"""One generation of a read model that is being built from the log, until it takes the live one's place.

Most of the log is read by stream, in the order of the events' key: each stream is folded at once, its row
written by COPY, and no state is remembered or read back. Then come the indexes, and what the log got
meanwhile is projected as everywhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from handlers.adapters.tasks import end
from handlers.projector import copying
from handlers.projector.folding import Folded, Folding, refolded
from handlers.projector.streams import LogRow, StreamFold
from handlers.projector.tables import STREAM, Place, Writer, Written, folded
from handlers.store.connections import Connections
from handlers.store.event_store import StoredEvent
from handlers.wire.events import event_of
from projections.read_model import ReadModel

_CHUNK = 10_000
"""Events read and written at a time: enough to make round trips not count."""

_BYTES = 16 * 1024 * 1024
"""Bytes of events' bodies read at a time, and the one beyond: the memory of a rebuild, a few times over."""

_SLICE = 500
"""Events folded before others in this process, and both connections, get a turn: some 2 ms."""

_NEAR = 2000
"""How near to the log's end is near enough for the swap: the rest is folded with the live one held."""

_REMEMBERED = 100_000
"""Streams in memory while the log's end is approached."""

_INDEXES_AT_ONCE = 2
"""Indexes made at the same time, each by one process of the server or more."""

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

_BY_KEY = b"""
SELECT set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true),
    set_config('enable_bitmapscan', 'off', true)"""
"""Read in the order of the key, however few rows the planner expects: or it sorts the whole log each time."""

_NOT_DURABLE = b"SET LOCAL synchronous_commit = off"
"""After a power cut in the middle of a rebuild it is begun anew anyway."""

_UNHURRIED = b"""
SELECT set_config('statement_timeout', '0', true), set_config('max_parallel_maintenance_workers', %s, true),
    set_config('default_statistics_target', '25', true)"""
"""A quarter of the statistics is enough until the server makes its own: queries go by index anyway."""

_FIRST = (UUID(int=0), 0)


class Building:
    """A generation that is being built; `events` and `parked` count."""

    def __init__(self, connections: Connections, place: Place) -> None:
        self.place = place
        self.events = 0
        self.parked = 0
        self._connections = connections
        self._incarnation = connections.incarnation.number
        self._folding = Folding(place.model, _REMEMBERED, event_of)
        self._writer = Writer(connections, [place])
        self._by_stream = _reading(
            place.model,
            "(originator_id, originator_version) > (%s, %s) AND notification_id <= %s",
            "originator_id, originator_version",
        )
        self._by_position = _reading(
            place.model, "notification_id > %s AND notification_id <= %s", "notification_id"
        )

    @classmethod
    async def begun(cls, connections: Connections, model: ReadModel) -> Building:
        """Make an empty generation."""
        async with connections.transaction() as transaction:
            cursor = await transaction.execute(_BEGIN, (model.name, model.revision, model.name))
            row = await cursor.fetchone()
            assert row is not None
            await transaction.execute(model.create(row[0]).encode())
        return cls(connections, Place(model, row[0], 0, 0))

    async def fill(self) -> None:
        """Fold all that the log has now into the table, which has no index yet."""
        target = await self._head()
        fold = StreamFold(self.place.model)
        async with aclosing(self._chunks(target)) as chunks:
            async for events in chunks:
                await self._copy(fold, events)
                self.events += len(events)
                if fold.doubtful:
                    await self._write(0, await self._refolded(fold.doubtful, target))
        last = Folded(fold.end(), [])
        await self._write(target, await self._refolded(fold.doubtful, target) if fold.doubtful else last)

    async def index(self, trigrams: str | None) -> None:
        """Make the indexes, and let the planner know the table.

        The index for searches costs more than all others: it comes first, and alone has a helper, another
        process of the server, which costs the others more than it saves.
        """
        model, table = self.place.model, f"service.{self.place.model.table(self.place.generation)}"
        wanted = sorted(model.indexes, key=lambda index: "{trigrams}" not in index)
        definitions = iter([index for index in wanted if trigrams is not None or "{trigrams}" not in index])

        async def make_each() -> None:
            for index in definitions:
                definition = index.replace("{trigrams}", f"{trigrams}.gin_trgm_ops")
                await self._run(f"CREATE INDEX ON {table} {definition}", helpers=int(definition != index))

        makers = [make_each() for _ in range(_INDEXES_AT_ONCE)]
        for failure in await asyncio.gather(*makers, return_exceptions=True):
            if failure is not None:
                raise failure
        columns = ", ".join(column.name for column in model.all_columns if column.type != "bytea")
        await self._run(f"ANALYZE {table} ({columns})")

    async def approach(self) -> None:
        """Bring the generation near to the log's end."""
        behind = _NEAR + 1
        while behind > _NEAR:
            head = await self._head()
            behind = head - self.place.position
            await self._catch_up(head)

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

    async def _run(self, statement: str, helpers: int = 0) -> None:
        async with self._connections.transaction() as transaction:
            await transaction.execute(_UNHURRIED, (str(helpers),))
            await transaction.execute(statement.encode())

    async def _head(self) -> int:
        ((head,),) = await self._connections.fetch(_HEAD, ())
        return head

    async def _chunks(self, target: int) -> AsyncGenerator[list[LogRow]]:
        """Read the log up to `target` by stream, always one chunk ahead of the fold."""
        ahead = asyncio.create_task(self._read_streams(*_FIRST, target))
        try:
            while events := await ahead:
                last = events[-1]
                ahead = asyncio.create_task(self._read_streams(last[2], last[3], target))
                yield events
        finally:
            await end(ahead)

    async def _read_streams(self, stream_id: UUID, version: int, target: int) -> list[LogRow]:
        async with (
            self._connections.transaction() as transaction,
            transaction.cursor(binary=True) as cursor,
        ):
            await cursor.execute(_BY_KEY)
            return await (await cursor.execute(self._by_stream, (stream_id, version, target))).fetchall()

    async def _copy(self, fold: StreamFold, events: list[LogRow]) -> None:
        model = self.place.model
        async with self._connections.transaction() as transaction, transaction.cursor() as cursor:
            self._connections.incarnation.require(self._incarnation)
            await cursor.execute(_NOT_DURABLE)
            async with cursor.copy(copying.statement(model, self.place.generation)) as copy:
                await copy.write(copying.BEGIN)
                for start in range(0, len(events), _SLICE):
                    await copy.write(copying.block(model, fold.fold(events[start : start + _SLICE])))
                    await asyncio.sleep(0)
                await copy.write(copying.END)

    async def _refolded(self, streams: list[UUID], target: int) -> Folded:
        """Fold these streams carefully, each up to the event that it stops at."""
        folded = Folded([], [])
        for stream in streams:
            events = await self._connections.fetch(STREAM, (stream, target))
            rows, parked = refolded(self.place.model, events, event_of)
            folded.rows.extend(rows)
            folded.parked.extend(parked)
        streams.clear()
        return folded

    async def _catch_up(self, target: int) -> None:
        while self.place.position < target:
            upto = min(self.place.position + _CHUNK, target)
            rows = await self._connections.fetch(self._by_position, (self.place.position, upto))
            events = list(map(StoredEvent._make, rows))
            if sum(len(event.state) for event in events) >= _BYTES:
                upto = events[-1].position  # there may be more, which was not read
            self.events += len(events)
            await self._write(upto, await folded(self._connections, self.place, self._folding, events))

    async def _write(self, position: int, folded: Folded) -> None:
        await self._writer.write([Written(self.place, position, folded)], self._incarnation)
        self.place = self.place._replace(position=position)
        self.parked += len(folded.parked)


def _reading(model: ReadModel, more: str, order: str) -> bytes:
    """Return the statement that reads events in order, as many as have `_BYTES` together, and one at least.

    How large a body is stands beside it: none is fetched that is not returned.
    """
    columns = "notification_id, tenant_id, originator_id, originator_version, topic, state, recorded_at"
    return (
        f"SELECT {columns} FROM ("  # noqa: S608
        f"SELECT {columns}, coalesce(sum(octet_length(state)) OVER (ORDER BY {order}"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before"
        f" FROM service.events WHERE {model.where} AND {more} ORDER BY {order} LIMIT {_CHUNK}"
        f") e WHERE before < {_BYTES} ORDER BY {order}"
    ).encode()
