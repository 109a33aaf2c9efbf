"""Preservation: the export of a tenant is written and handed over; cancelled, it is removed again.

The manifest is written while the parts are: each of its lines follows on the part that it names.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from psycopg import AsyncConnection

from handlers.adapters.effects import EffectFailed, Output, Work
from handlers.adapters.exports.shelf import MANIFEST, Shelf
from handlers.adapters.exports.sources import (
    OpenSealed,
    ReadEvents,
    Source,
    of_database,
    of_events,
    of_large_objects,
    of_objects,
)
from handlers.adapters.objects import Buckets
from handlers.adapters.roles import has_role, lend
from handlers.adapters.schemas import Connect
from tenant_domain.values import Json

HandOver: TypeAlias = Callable[[Work, Mapping[str, Json]], Awaitable[list[str]]]
"""Tells the tenant of its export, and where it is; returns what came of each channel."""


class Preservation:
    """Writes exports. `buckets` are the tenants' own, `places` those of the exports."""

    def __init__(
        self,
        *,
        connect: Connect,
        buckets: Buckets,
        places: Buckets,
        read_events: ReadEvents,
        open_sealed: OpenSealed,
        hand_over: HandOver,
        now: Callable[[], datetime],
    ) -> None:
        self._connect, self._buckets, self._places = connect, buckets, places
        self._read_events, self._open_sealed = read_events, open_sealed
        self._hand_over, self._now = hand_over, now

    async def preserve(self, work: Work) -> Output:
        """Write the tenant's export and hand it over; what stands of it, and was said, is left as it is."""
        operation_id = work.operation.operation_id
        async with self._connect() as rows:
            shelf = Shelf(self._places, lambda: nullcontext(rows))
            if await shelf.receipt(operation_id) is None:
                try:
                    await self._write(work, shelf)
                finally:
                    await _unless_ended(work, shelf)
            receipt = await shelf.receipt(operation_id)
            assert receipt is not None
            export: dict[str, Json] = {
                "parts": receipt.parts,
                "size": receipt.size,
                "manifest_sha256": receipt.manifest_sha256,
            }
            if not receipt.handed_over:
                told = await self._hand_over(work, export)
                at = self._now().isoformat()
                await shelf.handed_over(operation_id, [{"channel": each, "at": at} for each in told])
        return export

    async def drop(self, work: Work) -> None:
        """Remove the export: the tenant stays."""
        shelf = Shelf(self._places, self._connect)
        await shelf.remove(work.tenant_id)
        await shelf.forget(work.tenant_id)

    async def _write(self, work: Work, shelf: Shelf) -> None:
        tenant_id, operation_id = work.tenant_id, work.operation.operation_id
        await shelf.begin(tenant_id, operation_id)
        async with self._connect() as data, data.transaction(force_rollback=True):
            await data.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if await has_role(data, tenant_id):
                await lend(data, tenant_id)
            manifest = Source(MANIFEST, "manifest", lambda: self._manifest(work, shelf, data))
            part = await shelf.keep(tenant_id, operation_id, manifest)
        await shelf.finish(operation_id, part, self._now())

    async def _manifest(self, work: Work, shelf: Shelf, data: AsyncConnection[Any]) -> AsyncGenerator[bytes]:
        """Yield the manifest, keeping each part that it names."""
        tenant_id, operation_id = work.tenant_id, work.operation.operation_id
        head = {
            "format": "tenant-export",
            "version": 1,
            "tenant_id": tenant_id,
            "operation_id": operation_id,
        }
        yield msgspec.json.encode(head)[:-1] + b',"parts":['
        separator = b"\n"
        async for source in self._sources(work, data):
            part = await shelf.keep(tenant_id, operation_id, source)
            line = {"path": source.path, "kind": source.kind, "size": part.size, "sha256": part.sha256}
            yield separator + msgspec.json.encode(line)
            separator = b",\n"
        yield b"\n]}\n"

    async def _sources(self, work: Work, data: AsyncConnection[Any]) -> AsyncGenerator[Source]:
        async for source in of_database(data, work.tenant_id):
            yield source
        async for source in of_large_objects(data, work.tenant_id):
            yield source
        async for source in of_objects(self._buckets, work.tenant_id):
            yield source
        yield of_events(self._read_events, self._open_sealed, work.tenant_id)


async def _unless_ended(work: Work, shelf: Shelf) -> None:
    """Leave nothing of an export that is written after its run has ended: by a worker that slept meanwhile.

    Raises EffectFailed then; nothing of a tenant may outlive it.
    """
    if await shelf.certified(work.operation.operation_id):
        await shelf.remove(work.tenant_id)
        await shelf.forget(work.tenant_id)
        raise EffectFailed("The tenant was deleted meanwhile.")
