"""The projector's statements: they are made per generation, since each has a table of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg

from handlers.projector.folding import Folded, Folding, Parked, Row, Unrendered
from handlers.store.connections import Connections
from handlers.store.errors import StoreUnavailable
from handlers.store.event_store import StoredEvent
from handlers.store.packing import Packed, bigints, byteas, integers, names, texts, times, uuids
from projections.read_model import KEY, STANDING, ReadModel

_MOVED_ON = ("TS002", "42P01")
"""Fenced by service.project; or the table was dropped, which it is only behind a newer generation."""

_SLICE = 1000
"""Events folded before others in this process get a turn: some 5 ms."""

_PACKERS: Mapping[str, Callable[[Iterable[Any]], Packed]] = {
    "uuid": uuids,
    "bigint": bigints,
    "timestamptz": times,
    "bytea": byteas,
    "text": texts,
}

LIVE = b"""
SELECT name, generation, epoch, position, revision FROM service.projections WHERE live"""

STREAM = b"""
SELECT notification_id, tenant_id, originator_id, originator_version, topic, state, recorded_at
FROM service.events WHERE originator_id = %s AND notification_id <= %s ORDER BY originator_version"""
"""The events of one stream up to a position."""

_PROJECT = "SELECT service.project(%s, %s, %s, %s, %s)"

_PARK = """
INSERT INTO service.projection_parked
    (name, generation, stream_id, tenant_id, position, version, topic, error)
SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (name, generation, stream_id) DO NOTHING"""


class Place(NamedTuple):
    """How far one generation of a read model is; `epoch` moves when its rows were changed by another hand."""

    model: ReadModel
    generation: int
    epoch: int
    position: int


class Written(NamedTuple):
    """What one read model gets of a batch: it goes on from `place` to `position`."""

    place: Place
    position: int
    folded: Folded


class Outrun(Exception):
    """A read model is not where this projector left it: somebody else is at work."""


def upsert(model: ReadModel, generation: int) -> str:
    """Return the statement that writes rows of a generation, a packed array for each column."""
    columns = [column.name for column in model.all_columns]
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in columns if name != KEY)
    return (
        f"INSERT INTO service.{model.table(generation)} AS r ({', '.join(columns)}) "  # noqa: S608
        f"SELECT * FROM unnest({', '.join(['%s'] * len(columns))}) "
        f"ON CONFLICT ({KEY}) DO UPDATE SET {changes} WHERE r.version <= EXCLUDED.version"
    )


def packed(model: ReadModel, rows: Sequence[Row]) -> list[Packed]:
    """Return `rows` as the parameters of `upsert`."""
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(model.all_columns)
    return [_PACKERS[spec.type](values) for spec, values in zip(model.all_columns, columns, strict=True)]


def standings(model: ReadModel, generation: int) -> bytes:
    """Return the statement that reads where the streams of an array stand."""
    table = f"service.{model.table(generation)}"
    return f"SELECT {', '.join(STANDING)} FROM {table} WHERE {KEY} = ANY (%s)".encode()  # noqa: S608


async def folded(
    connections: Connections, place: Place, folding: Folding, events: Sequence[StoredEvent]
) -> Folded:
    """Fold the read model's own `events`, in order, with what the table has of their streams.

    Raises StoreError and psycopg.Error.
    """
    try:
        await _fold(connections, place, folding, events, carefully=False)
        return folding.collect()
    except Unrendered:
        folding.forget()
        await _fold(connections, place, folding, events, carefully=True)
        return folding.collect()


async def _fold(
    connections: Connections,
    place: Place,
    folding: Folding,
    events: Sequence[StoredEvent],
    *,
    carefully: bool,
) -> None:
    missing = folding.missing(events)
    if missing:
        statement = standings(place.model, place.generation)
        folding.remember(await connections.fetch(statement, (uuids(missing),)))
    for start in range(0, len(events), _SLICE):
        folding.fold(events[start : start + _SLICE], carefully=carefully)
        await asyncio.sleep(0)


class Writer:
    """Writes batches into some generations of read models: rows and positions in one statement."""

    def __init__(self, connections: Connections, places: Sequence[Place]) -> None:
        parts = [f"w{n} AS ({upsert(place.model, place.generation)})" for n, place in enumerate(places)]
        self._statement = f"WITH {', '.join(parts)}, parked AS ({_PARK}) {_PROJECT}".encode()
        self._connections = connections

    async def write(self, written: Sequence[Written], incarnation: int | None = None) -> None:
        """Write what each read model gets, in the order of the places given before.

        `incarnation` is the number of the database's that the events were read of. Raises Outrun (nothing was
        written) and StoreUnavailable (it may have been).
        """
        values = [column for each in written for column in packed(each.place.model, each.folded.rows)]
        values += _parking(written)
        values += (
            names(each.place.model.name for each in written),
            integers(each.place.generation for each in written),
            bigints(each.place.epoch for each in written),
            bigints(each.place.position for each in written),
            bigints(each.position for each in written),
        )
        try:
            await self._connections.fetch(self._statement, values, incarnation=incarnation)
        except psycopg.Error as error:
            if error.sqlstate in _MOVED_ON:
                raise Outrun(str(error)) from error
            raise StoreUnavailable(str(error)) from error


def _parking(written: Sequence[Written]) -> list[Packed]:
    rows: list[tuple[Place, Parked]] = [(each.place, item) for each in written for item in each.folded.parked]
    return [
        names(place.model.name for place, _ in rows),
        integers(place.generation for place, _ in rows),
        uuids(item.stream_id for _, item in rows),
        uuids(item.tenant_id for _, item in rows),
        bigints(item.position for _, item in rows),
        bigints(item.version for _, item in rows),
        texts(item.topic for _, item in rows),
        texts(item.error.replace("\x00", "") for _, item in rows),
    ]
