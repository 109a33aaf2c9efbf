"""What an export consists of: a source for each part, in the same order under the same paths each time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import msgspec
import obstore
from psycopg import AsyncConnection

from handlers.adapters.exports import parquet, tables
from handlers.adapters.objects import Buckets
from handlers.adapters.roles import schema_of
from handlers.wire.events import decoded, opened

CHUNK = 1024 * 1024
"""Bytes of a large object that are read at a time."""

_PAGE = 100
"""Events that are read at a time: each is at most as large as a command."""


class Source(NamedTuple):
    """One part of an export; `chunks` begins to read it anew."""

    path: str
    kind: str
    chunks: Callable[[], AsyncGenerator[bytes]]


class StoredEvent(Protocol):
    """An event as the log has it."""

    @property
    def position(self) -> int:
        """Its place in the global order."""
        ...

    @property
    def stream_id(self) -> UUID:
        """Its stream."""
        ...

    @property
    def version(self) -> int:
        """Its place in the stream."""
        ...

    @property
    def topic(self) -> str:
        """Its stored name."""
        ...

    @property
    def state(self) -> bytes:
        """Its stored body."""
        ...

    @property
    def recorded_at(self) -> datetime:
        """When it was recorded."""
        ...


OpenSealed: TypeAlias = Callable[[bytes, UUID], Awaitable[bytes]]
"""Returns JSON with the sealed values of a tenant opened."""

ReadEvents: TypeAlias = Callable[[UUID, int, int | None, int], Awaitable[Sequence[StoredEvent]]]
"""Reads up to so many events of a tenant after a position up to another one."""


async def of_database(connection: AsyncConnection[Any], tenant_id: UUID) -> AsyncGenerator[Source]:
    """Yield the tenant's schema as SQL and its tables as SQL and Parquet; nothing where it has no schema.

    The files of SQL, run in the order of their names in an empty schema, make the same tables. `connection`
    is in a transaction that sees one state of all tables.
    """
    schema = schema_of(tenant_id)
    await connection.execute("SELECT set_config('search_path', %s, true)", (schema,))
    found = await tables.of(connection, schema)
    if not found:
        return

    async def schema_sql() -> AsyncGenerator[bytes]:
        yield await tables.schema_sql(connection, schema, found)

    async def constraints_sql() -> AsyncGenerator[bytes]:
        yield await tables.constraints_sql(connection, schema)

    yield Source("database/1-schema.sql", "sql", schema_sql)
    for table in found:
        yield Source(f"database/2-{table.name}.sql", "sql", lambda of=table: tables.rows_sql(connection, of))
    yield Source("database/3-constraints.sql", "sql", constraints_sql)
    for table in found:
        yield Source(
            f"database/{table.name}.parquet", "parquet", lambda of=table: parquet.rows(connection, of)
        )


async def of_large_objects(connection: AsyncConnection[Any], tenant_id: UUID) -> AsyncGenerator[Source]:
    """Yield what the tenant's role keeps as large objects; the transaction of `connection` may read them."""
    found = await connection.execute(
        "SELECT m.oid FROM pg_largeobject_metadata m JOIN pg_roles r ON r.oid = m.lomowner"
        " WHERE r.rolname = %s ORDER BY m.oid",
        (schema_of(tenant_id),),
    )
    for (oid,) in await found.fetchall():
        yield Source(f"large-objects/{oid}", "object", lambda of=oid: _large_object(connection, of))


async def _large_object(connection: AsyncConnection[Any], oid: int) -> AsyncGenerator[bytes]:
    offset = 0
    while True:
        cursor = await connection.execute("SELECT lo_get(%s, %s, %s)", (oid, offset, CHUNK))
        row = await cursor.fetchone()
        if row is None or not row[0]:
            return
        yield row[0]
        offset += len(row[0])


async def of_objects(buckets: Buckets, tenant_id: UUID) -> AsyncGenerator[Source]:
    """Yield the objects of the tenant's bucket."""
    if not await buckets.exists(tenant_id):
        return
    store = buckets.open(tenant_id)

    async def chunks(path: str) -> AsyncGenerator[bytes]:
        async for chunk in (await obstore.get_async(store, path)).stream():
            yield bytes(chunk)

    async for page in obstore.list(store):
        for entry in page:
            yield Source(f"objects/{entry['path']}", "object", lambda of=entry["path"]: chunks(of))


def of_events(read: ReadEvents, open_sealed: OpenSealed, tenant_id: UUID) -> Source:
    """Return the tenant's events up to now, one JSON object a line, oldest first, all in clear."""

    async def chunks() -> AsyncGenerator[bytes]:
        after = 0
        while events := await read(tenant_id, after, None, _PAGE):
            yield await open_sealed(b"".join(map(_line, events)), tenant_id)
            after = events[-1].position

    return Source("events.jsonl", "events", chunks)


_encode = msgspec.json.Encoder().encode


def _line(event: StoredEvent) -> bytes:
    stored = opened(event.state)
    line = {
        "position": event.position,
        "stream_id": event.stream_id,
        "version": event.version,
        "type": event.topic,
        "time": event.recorded_at,
        "data": decoded(event.topic, stored.v, stored.data),
        "meta": stored.meta,
    }
    return _encode(line) + b"\n"
