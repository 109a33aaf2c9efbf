"""The shelf: an export's parts as objects, and the rows that say which of them stand, and were fetched.

A part is an object under `<operation id>/<path>` in the bucket of the tenant's export. Its row is written
once the object stands; a part whose object still has the hash of its row is not written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import obstore
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from handlers.adapters.exports.sources import Source
from handlers.adapters.objects import Buckets
from handlers.adapters.schemas import Connect
from projections.termination import no_export
from tenant_domain.refusals import NotFound

MANIFEST = "manifest.json"
"""The part that names all others, with their sizes and hashes."""


class Part(NamedTuple):
    """A part that stands."""

    size: int
    sha256: str


class Receipt(NamedTuple):
    """What is known of an export: when it was written, what was said to whom, and whether it was fetched.

    `fetched_at` is when the last of its parts was; None while one of them was not.
    """

    operation_id: UUID
    parts: int
    size: int
    manifest_sha256: str
    written_at: datetime
    handed_over: list[dict[str, str]]
    fetched_at: datetime | None


_RECEIPT = """
SELECT e.operation_id, e.parts, e.size, e.manifest_sha256, e.written_at, e.handed_over,
    (SELECT CASE WHEN bool_and(p.fetched_at IS NOT NULL) THEN max(p.fetched_at) END
     FROM service.export_parts p WHERE p.operation_id = e.operation_id)
FROM service.exports e WHERE e.manifest_sha256 IS NOT NULL AND """


class Shelf:
    """The exports of all tenants. `places` are their buckets; `connect` gives a connection for each use."""

    def __init__(self, places: Buckets, connect: Connect) -> None:
        self._places, self._connect = places, connect

    async def begin(self, tenant_id: UUID, operation_id: UUID) -> None:
        """Make room for an export; what stands of it stays."""
        await self._places.create(tenant_id)
        await self._do(
            "INSERT INTO service.exports (operation_id, tenant_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            operation_id,
            tenant_id,
        )

    async def keep(self, tenant_id: UUID, operation_id: UUID, source: Source) -> Part:
        """Write a part, unless it stands already."""
        standing = await self.part(operation_id, source.path)
        if standing is not None and await self._stands(tenant_id, operation_id, source.path, standing):
            return standing
        tally = _Tally()
        await obstore.put_async(
            self._places.open(tenant_id), f"{operation_id}/{source.path}", tally.of(source.chunks())
        )
        part = tally.part()
        await self._do(
            "INSERT INTO service.export_parts (operation_id, part, size, sha256) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (operation_id, part) DO UPDATE"
            " SET size = EXCLUDED.size, sha256 = EXCLUDED.sha256",
            operation_id,
            _key(source.path),
            *part,
        )
        return part

    async def finish(self, operation_id: UUID, manifest: Part, now: datetime) -> None:
        """Note that all parts stand, the manifest last; when that was noted already, it stays."""
        await self._do(
            "UPDATE service.exports e SET manifest_sha256 = %s, written_at = %s, parts = p.parts,"
            " size = p.size FROM (SELECT count(*) AS parts, sum(size)::bigint AS size"
            " FROM service.export_parts WHERE operation_id = %s) p"
            " WHERE e.operation_id = %s AND e.manifest_sha256 IS NULL",
            manifest.sha256,
            now,
            operation_id,
            operation_id,
        )

    async def handed_over(self, operation_id: UUID, told: list[dict[str, str]]) -> None:
        """Note who was told of the export, and how."""
        statement = "UPDATE service.exports SET handed_over = %s WHERE operation_id = %s"
        await self._do(statement, Jsonb(told), operation_id)

    async def part(self, operation_id: UUID, path: str) -> Part | None:
        """Return a part that was written."""
        statement = "SELECT size, sha256 FROM service.export_parts WHERE operation_id = %s AND part = %s"
        found = await self._do(statement, operation_id, _key(path))
        return Part(*found[0]) if found else None

    async def receipt(self, operation_id: UUID) -> Receipt | None:
        """Return what is known of the export of a run; None where none was written."""
        found = await self._do(_RECEIPT + "e.operation_id = %s", operation_id)
        return Receipt(*found[0]) if found else None

    async def certified(self, operation_id: UUID) -> bool:
        """Return whether the run has ended with a certificate of deletion."""
        return bool(
            await self._do("SELECT 1 FROM service.certificates WHERE operation_id = %s", operation_id)
        )

    async def current(self, tenant_id: UUID) -> Receipt:
        """Return what is known of the tenant's export. Raises NotFound where there is none (any more)."""
        found = await self._do(_RECEIPT + "e.tenant_id = %s ORDER BY e.written_at DESC LIMIT 1", tenant_id)
        if not found:
            raise no_export(tenant_id)
        return Receipt(*found[0])

    async def fetch(self, tenant_id: UUID, path: str) -> tuple[Part, AsyncGenerator[bytes]]:
        """Return a part of the tenant's export and its bytes.

        It counts as fetched when all of them were read, and were what was written. Raises NotFound.
        """
        operation_id = (await self.current(tenant_id)).operation_id
        part = await self.part(operation_id, path)
        if part is None:
            raise NotFound(f"The export has no part {path!r}; {MANIFEST} names all of them.")
        return part, self._fetched(tenant_id, operation_id, path, part)

    async def remove(self, tenant_id: UUID) -> int:
        """Remove the objects of the tenant's exports, and return how many there were; rows stay."""
        count = await count_objects(self._places, tenant_id)
        await self._places.remove(tenant_id)
        return count

    async def forget(self, tenant_id: UUID) -> None:
        """Remove the rows of the tenant's exports."""
        await self._do("DELETE FROM service.exports WHERE tenant_id = %s", tenant_id)

    async def gone(self, tenant_id: UUID) -> bool:
        """Return whether no object of an export of the tenant is there."""
        return not await self._places.exists(tenant_id)

    async def _fetched(
        self, tenant_id: UUID, operation_id: UUID, path: str, part: Part
    ) -> AsyncGenerator[bytes]:
        tally = _Tally()
        async for chunk in tally.of(self._read(tenant_id, operation_id, path)):
            yield chunk
        statement = "UPDATE service.export_parts SET fetched_at = now() WHERE operation_id = %s AND part = %s"
        if tally.part() == part:
            await self._do(statement, operation_id, _key(path))

    async def _stands(self, tenant_id: UUID, operation_id: UUID, path: str, part: Part) -> bool:
        tally = _Tally()
        try:
            async for _ in tally.of(self._read(tenant_id, operation_id, path)):
                pass
        except FileNotFoundError:
            return False
        return part == tally.part()

    async def _read(self, tenant_id: UUID, operation_id: UUID, path: str) -> AsyncGenerator[bytes]:
        found = await obstore.get_async(self._places.open(tenant_id), f"{operation_id}/{path}")
        async for chunk in found.stream():
            yield bytes(chunk)

    async def _do(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self._connect() as connection:
            return await _rows(connection, statement, values)


async def count_objects(buckets: Buckets, tenant_id: UUID) -> int:
    """Return how many objects are in the tenant's bucket; 0 where there is none."""
    if not await buckets.exists(tenant_id):
        return 0
    count = 0
    async for page in obstore.list(buckets.open(tenant_id)):
        count += len(page)
    return count


class _Tally:
    """Size and hash of what passes."""

    def __init__(self) -> None:
        self.size, self.hash = 0, hashlib.sha256()

    def part(self) -> Part:
        """Return what passed so far, as a part."""
        return Part(self.size, self.hash.hexdigest())

    async def of(self, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
        async for chunk in chunks:
            self.size += len(chunk)
            self.hash.update(chunk)
            yield chunk


def _key(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()


async def _rows(connection: AsyncConnection[Any], statement: str, values: Any) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchall() if cursor.description else []
