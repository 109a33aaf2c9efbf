"""Whether TENANT_DEAD_LETTERS still holds the letters that it acknowledged.

A stream that is put back to an earlier state (a restored copy, a power cut with a sync interval) lacks what
came since, and gives its numbers to other letters. So each letter keeps the number that it was acknowledged
under, and the one with the highest is looked for there. Where it is not, all are looked for: those that lie
behind the stream's end, or where another letter stands now, are to be published again. A letter that is
missing before the end was purged, deleted with its tenant, or cut off by limits, and stays away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.store.event_store import EventStore
from handlers.wire.headers import MSG_ID

log = structlog.get_logger()

AT_ONCE = 50
"""Letters looked for at once: bounds memory, with bodies of up to half a MiB."""

_NEWEST = """
SELECT number, id FROM service.dead_letters WHERE number IS NOT NULL ORDER BY number DESC, id DESC LIMIT 1"""

_NEXT = """
SELECT number, id FROM service.dead_letters WHERE (number, id) > (%s, %s) ORDER BY number, id LIMIT %s"""

_UNPUBLISHED = """
UPDATE service.dead_letters d SET published_at = NULL, number = NULL
FROM unnest(%s::bigint[], %s::uuid[]) lost(number, id) WHERE (d.number, d.id) = (lost.number, lost.id)"""

_ALL_UNPUBLISHED = """
UPDATE service.dead_letters SET published_at = NULL, number = NULL WHERE published_at IS NOT NULL"""


class Place(NamedTuple):
    """The number that a letter was acknowledged under, and its id."""

    number: int
    id: UUID


_START = Place(0, UUID(int=0))


class LetterPlaces:
    """Compares the letters of `store` with what `stream` holds; there may be any number of them."""

    def __init__(self, nc: Client, store: EventStore, stream: str) -> None:
        self._nc, self._store, self._stream = nc, store, stream
        self._held: object = None
        """The stream and the newest letter as they were when that was found there."""

    async def newest(self) -> Place:
        """Return the place with the highest number; number 0 where no letter has one. Raises StoreError."""
        async with self._store.transaction() as transaction:
            row = await (await transaction.connection.execute(_NEWEST)).fetchone()
        return _START if row is None else Place(*row)

    async def mend(self, newest: Place, info: Json) -> None:
        """Mark as unpublished what the stream has lost; `info` tells of it, asked for behind `newest`.

        Raises StoreError, JetStreamError, and nats-py's errors.
        """
        state = info["state"]
        if not state["last_seq"]:
            async with self._store.transaction() as transaction:
                await transaction.connection.execute(_ALL_UNPUBLISHED)
            return
        now = (info["created"], state["last_seq"], state["last_ts"], newest)
        if now != self._held and not await self._stands(newest, info):
            await self.mend_all()
        self._held = now

    async def mend_all(self) -> None:
        """Look for all letters, and mark as unpublished those that are lost. Raises as `mend` does."""
        count, after = 0, _START
        while page := await self._next(after):
            after = page[-1]
            info = await jetstream.stream_info(self._nc, self._stream)
            if info is None:
                return  # it will be made, and be empty
            found = await asyncio.gather(*(self._stands(place, info) for place in page))
            lost = [place for place, stands in zip(page, found, strict=True) if not stands]
            await self._unpublish(lost)
            count += len(lost)
        if count:
            log.error("dead letters are published again: their stream was put back", letters=count)

    async def _next(self, after: Place) -> list[Place]:
        async with self._store.transaction() as transaction:
            cursor = await transaction.connection.execute(_NEXT, (*after, AT_ONCE))
            return [Place(*row) for row in await cursor.fetchall()]

    async def _stands(self, place: Place, info: Json) -> bool:
        """Return whether a letter is where it was acknowledged, or went from there."""
        if place.number > info["state"]["last_seq"]:
            return False
        if place.number < max(1, info["state"]["first_seq"]):
            return True
        there = await jetstream.message(self._nc, self._stream, place.number)
        return there is None or there.headers.get(MSG_ID) == str(place.id)

    async def _unpublish(self, lost: Collection[Place]) -> None:
        if lost:
            columns = [place.number for place in lost], [place.id for place in lost]
            async with self._store.transaction() as transaction:
                await transaction.connection.execute(_UNPUBLISHED, columns)
