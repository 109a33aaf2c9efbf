"""A table's rows as a Parquet file, made as they stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

import pyarrow
from psycopg import AsyncConnection, sql
from pyarrow import parquet

from handlers.adapters.exports.tables import Column, Table, at_a_time

_arrow: Any = pyarrow
_parquet: Any = parquet


class _Form(NamedTuple):
    """What is selected of a column, and the type that its values have in the file."""

    select: str
    type: Callable[[], Any]


_AS_IT_IS = "{}"
_MICROSECONDS = "CASE WHEN isfinite({0}) THEN (extract(epoch FROM {0}) * 1000000)::int8 END"
_DAYS = "CASE WHEN isfinite({0}) THEN {0} - DATE '1970-01-01' END"

_FORMS = {
    "bool": _Form(_AS_IT_IS, lambda: _arrow.bool_()),
    "int2": _Form(_AS_IT_IS, lambda: _arrow.int16()),
    "int4": _Form(_AS_IT_IS, lambda: _arrow.int32()),
    "int8": _Form(_AS_IT_IS, lambda: _arrow.int64()),
    "float4": _Form(_AS_IT_IS, lambda: _arrow.float32()),
    "float8": _Form(_AS_IT_IS, lambda: _arrow.float64()),
    "bytea": _Form(_AS_IT_IS, lambda: _arrow.binary()),
    "timestamptz": _Form(_MICROSECONDS, lambda: _arrow.timestamp("us", tz="UTC")),
    "timestamp": _Form(_MICROSECONDS, lambda: _arrow.timestamp("us")),
    "date": _Form(_DAYS, lambda: _arrow.date32()),
}
"""Types that Parquet has too; an infinite time, which it cannot hold, is null there. The rest is text."""

_TEXT = _Form("{}::text", lambda: _arrow.string())


async def rows(connection: AsyncConnection[Any], table: Table) -> AsyncGenerator[bytes]:
    """Yield the file, a group of rows at a time."""
    forms = [_FORMS.get(column.type, _TEXT) for column in table.columns]
    made = _Made(table.columns, [form.type() for form in forms])
    selected = [
        sql.SQL(form.select).format(sql.Identifier(column.name))  # pyright: ignore[reportArgumentType]
        for form, column in zip(forms, table.columns, strict=True)
    ]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(selected), sql.Identifier(table.name))
    count = await at_a_time(connection, table)
    async with connection.cursor(name="rows_parquet", binary=True) as cursor:
        await cursor.execute(query)
        while fetched := await cursor.fetchmany(count):
            yield await asyncio.to_thread(made.group, fetched)
    yield made.end()


class _Made:
    """A Parquet file in the making: what is made of it is handed out, and not kept."""

    def __init__(self, columns: Sequence[Column], types: Sequence[Any]) -> None:
        self._schema = _arrow.schema(list(zip((column.name for column in columns), types, strict=True)))
        self._sink = _Sink()
        self._writer = _parquet.ParquetWriter(self._sink, self._schema)

    def group(self, fetched: Sequence[Sequence[Any]]) -> bytes:
        """Add rows; returns what that made of the file."""
        columns = zip(*fetched, strict=True)
        arrays = [
            _arrow.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(_arrow.Table.from_arrays(arrays, schema=self._schema))
        return self._sink.taken()

    def end(self) -> bytes:
        """Return the end of the file."""
        self._writer.close()
        return self._sink.taken()


class _Sink:
    """A file to write to whose bytes can be taken out of it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
