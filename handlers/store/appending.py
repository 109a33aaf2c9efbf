"""The call of `service.append`: a batch as its parameters, and what its one row says.

One statement is one transaction and one round trip. Both the batch path and the library's recorders use it.
Parts of a batch that have no rows stand in the statement as empty arrays: a parameter costs as much as a row.
One command with one event has a call of its own, `service.append_one`, without arrays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from itertools import accumulate
from operator import attrgetter
from typing import Any, NamedTuple, cast
from uuid import UUID

from psycopg.sql import SQL, Identifier, Placeholder

from handlers.store.batch import AgendaRow, Appended, Batch, ProgressRow, ReadRow, Recorded
from handlers.store.packing import (
    Bigints,
    Bytea,
    Packed,
    Text,
    bigint,
    bigints,
    booleans,
    byteas,
    integers,
    names,
    texts,
    times,
    uuid,
    uuids,
)


def _running(counts: Iterable[int]) -> Bigints:
    return bigints(accumulate(counts))


_EVENTS = (uuids, uuids, bigints, names, byteas, integers)
_READS = (uuids, bigints, integers)
_LEDGER = (uuids, uuids, byteas, byteas, booleans, _running, integers)
_PROGRESS = (integers, uuids, bigints, bigints)
_MARKS = (integers, bigints, bigints)
_AGENDA = (uuids, uuids, names, times, uuids, integers)
_DEAD_LETTERS = (uuids, texts, names, bigints, names, texts, texts, byteas, texts, integers)
_KEYS = (uuids, uuids, byteas, integers)
_PARTS = (_EVENTS, _READS, _LEDGER, _PROGRESS, _AGENDA, _DEAD_LETTERS, _KEYS)
_EVENTS_ALONE = (True, *[False] * (len(_PARTS) - 1))


@cache
def _statement(schema: str, function: str, given: tuple[bool, ...], *, marked: bool = False) -> bytes:
    """Return the call of an append function, with parameters for the parts that are `given`.

    With `marked`, `service.mark_progress` is called behind it, in the same transaction.
    """
    places = [
        Placeholder() if has_rows else SQL("'{{}}'")
        for has_rows, packers in zip(given, _PARTS, strict=True)
        for _ in packers
    ]
    call = SQL("SELECT a.* FROM {}({}) a").format(Identifier(schema, function), SQL(", ").join(places))
    if marked:
        marks = SQL(", ").join([Placeholder()] * len(_MARKS))
        call += SQL(", LATERAL service.mark_progress(a.dropped, {})").format(marks)
    return call.as_bytes(None)


def append_events_statement(schema: str, function: str) -> bytes:
    """Return the call of an append function whose parameters are those of `event_parameters`."""
    return _statement(schema, function, _EVENTS_ALONE)


class Row(NamedTuple):
    """The one row that `service.append` gives."""

    head: int
    recorded_at: datetime
    dropped: list[int]
    repeated_tenant: list[UUID] | None
    repeated_command: list[UUID] | None
    repeated_hash: list[bytes] | None
    repeated_outcome: list[bytes] | None
    repeated_position: list[int | None] | None


APPEND_ONE = b"SELECT service.append_one(%s, %s, %s, %s, %s, %s, %s, %s)"
"""Gives the position of the one event, or None when the batch is for `append_call`: nothing was written."""


def one_command(batch: Batch) -> list[Packed] | None:
    """Return the parameters of APPEND_ONE, or None for a batch that is not one command with one event."""
    return _one_command(batch) if _is_one_command(batch) else None


def append_call(batch: Batch) -> tuple[bytes, list[Packed]]:
    """Return the statement that appends `batch`, and its parameters.

    Raises ValueError when the versions of a stream's events do not follow each other and what was read of it.
    """
    parts: tuple[Sequence[Sequence[Any]], ...] = (
        events := _columns(batch.events),
        _expectations(batch, events),
        _columns(batch.ledger),
        _columns(batch.progress),
        _columns(_last_words(batch.agenda)),
        _columns(batch.dead_letters),
        _columns(batch.keys),
    )
    given = tuple(len(columns) > 0 for columns in parts)
    marks = _marks(batch.progress)
    return _statement("service", "append", given, marked=len(marks) > 0), _packed(parts) + marks


def _marks(progress: Iterable[ProgressRow]) -> list[Packed]:
    """Return the columns that say which message each partition has come to."""
    columns = _columns((row.partition, row.sequence, row.stored_at) for row in progress)
    return [pack(column) for pack, column in zip(_MARKS, columns, strict=bool(columns))]


def _is_one_command(batch: Batch) -> bool:
    """Return whether this is a completed command with one event, decided on that event's stream alone."""
    if len(batch.ledger) != 1 or len(batch.events) != 1:
        return False
    if batch.progress or batch.agenda or batch.dead_letters or batch.keys:
        return False
    [row], [event] = batch.ledger, batch.events
    read = ReadRow(event.stream_id, event.version - 1, event.group)
    return (
        row.completed
        and (row.events, row.tenant_id, row.group) == (1, event.tenant_id, event.group)
        and all(each == read for each in batch.reads)
    )


def _one_command(batch: Batch) -> list[Packed]:
    [row], [event] = batch.ledger, batch.events
    return [
        uuid(event.tenant_id),
        uuid(event.stream_id),
        bigint(event.version),
        Text(event.topic.encode()),
        Bytea(event.state),
        uuid(row.command_id),
        Bytea(row.hash),
        Bytea(row.outcome),
    ]


def _packed(parts: Iterable[Sequence[Sequence[Any]]]) -> list[Packed]:
    """Return the columns of all parts as parameters; one that stands in several places is packed once.

    Tenants often do: in the events, as the streams they belong to, and in the ledger.
    """
    values: list[Packed] = []
    known: dict[Any, list[tuple[Sequence[Any], Packed]]] = defaultdict(list)
    for columns, packers in zip(parts, _PARTS, strict=True):
        for column, pack in zip(columns, packers, strict=False):
            same = (packed for former, packed in known[pack] if former == column)
            packed = next(same, None)
            if packed is None:
                packed = pack(column)
                known[pack].append((column, packed))
            values.append(packed)
    return values


def event_parameters(
    events: Sequence[tuple[Any, ...]], pack_id: Callable[[Iterable[Any]], Packed] = uuids
) -> list[Packed]:
    """Return the parameters of an append of `events` (like EventRow, at least one) that the keys alone check.

    `pack_id` packs the ids of tenants and streams, for a log that has other than UUIDs.
    """
    packers = (pack_id, pack_id, *_EVENTS[2:])
    return [pack(column) for pack, column in zip(packers, _columns(events), strict=True)]


def _columns(rows: Iterable[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Return the columns of rows; none where there are no rows."""
    return tuple(zip(*rows, strict=True))


def _expectations(batch: Batch, events: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Return what every stream that was read or is written must stand at, once for each, in columns.

    `events` are the columns of the batch's events. Where each is of another stream they say it all.
    """
    if not batch.reads and events:
        _, streams, versions, _, _, groups = events
        if len(set(streams)) == len(streams):
            return streams, [version - 1 for version in versions], groups
    return _columns(_reads(batch))


def _reads(batch: Batch) -> Collection[ReadRow]:
    reads = {read.stream_id: read for read in batch.reads}
    versions = {stream: read.version for stream, read in reads.items()}
    if len(reads) != len(batch.reads) and any(read != reads[read.stream_id] for read in batch.reads):
        raise ValueError("a stream was read at different versions, or stands in different groups")
    for event in batch.events:
        former = versions.get(event.stream_id)
        if former is None:
            former = event.version - 1
            reads[event.stream_id] = ReadRow(event.stream_id, former, event.group)
        if event.version != former + 1:
            raise ValueError(f"stream {event.stream_id} goes from version {former} to {event.version}")
        versions[event.stream_id] = event.version
    return reads.values()


def _last_words(agenda: list[AgendaRow]) -> Collection[AgendaRow]:
    """Return the last row of each operation: an upsert can touch a row once only."""
    return {row.operation_id: row for row in agenda}.values()


_groups = attrgetter("group")


def appended(batch: Batch, found: tuple[Any, ...]) -> Appended:
    """Return what the row `found` says of `batch`."""
    row = Row(*found)
    dropped = frozenset(row.dropped)
    kept = sum(group not in dropped for group in map(_groups, batch.events)) if dropped else len(batch.events)
    return Appended(
        head=row.head + kept,
        positions=_positions(batch, row.head, dropped),
        dropped=dropped,
        repeated=_repeated(row),
    )


def _positions(batch: Batch, before: int, dropped: frozenset[int]) -> list[int | None]:
    positions: list[int | None] = []
    position = before
    for row in batch.ledger:
        if row.group in dropped:
            positions.append(None)
        else:
            position += row.events
            positions.append(position)
    return positions


def _repeated(row: Row) -> dict[tuple[UUID, UUID], Recorded]:
    if row.repeated_tenant is None:
        return {}
    tenants, commands, *columns = cast("list[list[Any]]", row[3:])
    return dict(zip(zip(tenants, commands, strict=True), map(Recorded, *columns), strict=True))
