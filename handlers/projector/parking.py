"""Streams that a read model could not go on with: listed, and folded again once the reason is gone."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from handlers.projector.folding import Parked, refolded
from handlers.projector.tables import STREAM, packed, upsert
from handlers.store.connections import Connections
from handlers.wire.events import event_of
from projections.read_model import ReadModel

log = structlog.get_logger()

_LIST = b"""
SELECT q.name, q.stream_id, q.tenant_id, q.position, q.version, q.topic, q.error, q.parked_at
FROM service.projection_parked q JOIN service.projections p ON p.name = q.name AND p.generation = q.generation
WHERE p.live AND (%s = '' OR q.name = %s) ORDER BY q.name, q.position"""

_HOLD = b"SELECT generation, position FROM service.projections WHERE name = %s AND live FOR UPDATE"

_PARKED = (
    b"SELECT stream_id FROM service.projection_parked WHERE name = %s AND generation = %s ORDER BY position"
)

_UNPARK = b"DELETE FROM service.projection_parked WHERE name = %s AND generation = %s AND stream_id = %s"

_BUMP = b"UPDATE service.projections SET epoch = epoch + 1 WHERE name = %s AND live"


class ParkedStream(NamedTuple):
    """A parked stream, as an operator sees it."""

    read_model: str
    stream_id: UUID
    tenant_id: UUID
    position: int
    version: int
    topic: str
    error: str
    parked_at: datetime


class Retried(NamedTuple):
    """What came of a retry: the streams that go on, and those that stay parked, with why."""

    mended: list[UUID]
    parked: list[Parked]


async def parked_streams(connections: Connections, name: str = "") -> list[ParkedStream]:
    """Return the parked streams of the live read models, or only of the one called `name`."""
    return list(map(ParkedStream._make, await connections.fetch(_LIST, (name, name))))


async def retry(connections: Connections, model: ReadModel) -> Retried:
    """Fold the parked streams of `model` again from their beginning, up to where the read model is.

    The projector is held meanwhile, and drops what it remembers afterwards. Raises StoreError.
    """
    retried = Retried([], [])
    async with connections.transaction() as transaction, transaction.cursor(binary=True) as cursor:
        row = await (await cursor.execute(_HOLD, (model.name,))).fetchone()
        if row is None:
            return retried
        generation, position = row
        streams = await (await cursor.execute(_PARKED, (model.name, generation))).fetchall()
        for (stream,) in streams:
            events = await (await cursor.execute(STREAM, (stream, position))).fetchall()
            folded = refolded(model, events, event_of)
            if folded.parked:
                retried.parked.extend(folded.parked)
                continue
            await cursor.execute(upsert(model, generation).encode(), packed(model, folded.rows))
            await cursor.execute(_UNPARK, (model.name, generation, stream))
            retried.mended.append(stream)
        await cursor.execute(_BUMP, (model.name,))
    log.info("parked streams retried", read_model=model.name, mended=len(retried.mended))
    return retried
