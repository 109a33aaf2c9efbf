"""From the outbox `service.dead_letters` into TENANT_DEAD_LETTERS.

A letter is marked as published once the stream has acknowledged it; its id is its message id, so one that is
published again (by another relay, or because its mark was lost) is dropped by the server. A stream that has
never held a letter is a new one: it gets all that the database has. What was published is forgotten here
after a while: the stream has it.

Of a letter to a tenant whose data is erased only what tells of nobody goes on: its id and its command's, its
place, and the problem's name. The rest goes from its row, too.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.beats import Beat, Beats
from handlers.relay.metrics import RelayMetrics
from handlers.store.event_store import EventStore
from handlers.wire.dead_letters import DeadLetter, emptied, packed, token
from handlers.wire.subjects import Streams, Subjects

log = structlog.get_logger()

AT_ONCE = 50
"""Letters taken at once: bounds memory, with bodies of up to half a MiB."""

HOUR = 3600.0
MONTH = 30 * 24 * HOUR

PATIENCE = 5.0
"""Seconds that an acknowledgement may take."""

LONGEST_WAIT = 10.0
"""Seconds between two tries at most, while NATS or PostgreSQL is away."""

AT_MOST = 1000
"""Letters forgotten in one transaction."""

_PENDING = """
SELECT d.id, d.tenant, d.stream, d.sequence, d.reason, d.subject, d.headers, d.body, d.error, d.at, EXISTS (
    SELECT FROM service.tenant_keys k WHERE k.destroyed_at IS NOT NULL
    AND k.tenant_id = CASE WHEN d.tenant <> 'unknown' THEN d.tenant::uuid END)
FROM service.dead_letters d WHERE d.published_at IS NULL ORDER BY d.at, d.id LIMIT %s"""

_PUBLISHED = "UPDATE service.dead_letters SET published_at = now() WHERE id = ANY (%s)"

_EMPTIED = "UPDATE service.dead_letters SET headers = %s, body = %s, error = %s WHERE id = %s"

_FORGET = """
DELETE FROM service.dead_letters WHERE id = ANY (ARRAY(
    SELECT id FROM service.dead_letters WHERE published_at < now() - %s ORDER BY published_at LIMIT %s))"""

_UNPUBLISHED = "UPDATE service.dead_letters SET published_at = NULL WHERE published_at IS NOT NULL"


class DeadLetterRelay:
    """Publishes what stands in the outbox of `store`; `run` it.

    `declare` makes the streams that are missing. A published letter is kept for `retention` seconds; what is
    older goes every `cleaning` seconds, which costs a scan. `poll` is in seconds, too.
    """

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        subjects: Subjects,
        streams: Streams,
        declare: Callable[[], Awaitable[object]],
        *,
        poll: float = 1.0,
        retention: float = MONTH,
        cleaning: float = HOUR,
        metrics: RelayMetrics,
        beat: Beat | None = None,
    ) -> None:
        self._beat = beat or Beats().engine("relay of dead letters")
        self._nc = nc
        self._store = store
        self._subjects = subjects
        self._stream = streams.dead_letters
        self._declare = declare
        self._poll = poll
        self._retention = timedelta(seconds=retention)
        self._cleaning = cleaning
        self._metrics = metrics

    async def run(self) -> NoReturn:
        """Publish until cancelled; a lost server is waited for."""
        loop = asyncio.get_running_loop()
        pause, cleaned = self._poll, loop.time()
        while True:
            try:
                published = await self.publish()
                if loop.time() - cleaned >= self._cleaning:
                    cleaned = loop.time()
                    await self.forget()
                pause = self._poll
                self._beat.well()
            except Exception as error:  # noqa: BLE001 - an engine outlives whatever befalls it
                log.warning("dead letters wait", error=repr(error), pause=pause)
                published, pause = 0, min(pause * 2, LONGEST_WAIT)
            if published < AT_ONCE:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def publish(self) -> int:
        """Publish some letters, mark them, and return how many.

        Raises StoreUnavailable, JetStreamError, and the error of the first letter that was not taken.
        """
        await self._look_after_stream()
        async with self._store.transaction() as transaction:
            cursor = transaction.connection.cursor(binary=True)
            rows = await (await cursor.execute(_PENDING, (AT_ONCE,))).fetchall()
        letters = [(row[0], row[1], _letter(self._subjects, row)) for row in rows]
        await self._empty([(key, letter) for key, _, letter in letters if letter.omitted])
        outcomes = await asyncio.gather(
            *(self._publish(tenant, letter) for _, tenant, letter in letters), return_exceptions=True
        )
        failed = [outcome for outcome in outcomes if outcome is not None]
        await self._mark([key for (key, _, _), ok in zip(letters, outcomes, strict=True) if ok is None])
        if failed:
            raise failed[0]
        return len(letters)

    async def forget(self) -> int:
        """Delete letters that were published long ago, and return how many. Raises StoreError."""
        forgotten = 0
        while True:
            async with self._store.transaction() as transaction:
                cursor = await transaction.connection.execute(_FORGET, (self._retention, AT_MOST))
            forgotten += cursor.rowcount
            if cursor.rowcount < AT_MOST:
                return forgotten

    async def _look_after_stream(self) -> None:
        info = await jetstream.stream_info(self._nc, self._stream)
        if info is None:
            await self._declare()
        if info is None or info["state"]["last_seq"] == 0:
            async with self._store.transaction() as transaction:
                await transaction.connection.execute(_UNPUBLISHED)

    async def _publish(self, tenant: str, letter: DeadLetter) -> None:
        headers, body = packed(letter, self._nc.max_payload)
        subject = self._subjects.dead(token(tenant), token(letter.stream), token(letter.reason))
        await self._nc.jetstream(timeout=PATIENCE).publish(subject, body, headers=headers)
        self._metrics.buried(token(letter.reason))
        log.info(
            "dead letter", letter=letter.id, tenant_id=tenant, stream=letter.stream, reason=letter.reason
        )

    async def _empty(self, letters: Collection[tuple[UUID, DeadLetter]]) -> None:
        """Keep no more of these letters than is told of them."""
        if not letters:
            return
        async with self._store.transaction() as transaction:
            for key, letter in letters:
                values = (json.dumps(dict(letter.headers)), letter.body, json.dumps(letter.error), key)
                await transaction.connection.execute(_EMPTIED, values)

    async def _mark(self, ids: Collection[UUID]) -> None:
        if ids:
            async with self._store.transaction() as transaction:
                await transaction.connection.execute(_PUBLISHED, (list(ids),))


def _letter(subjects: Subjects, row: tuple[Any, ...]) -> DeadLetter:
    key, _tenant, stream, sequence, reason, subject, headers, body, error, at, erased = row
    letter = DeadLetter(
        id=str(key),
        stream=stream,
        sequence=sequence,
        subject=subjects.door(subject),
        reason=reason,
        time=at.isoformat(),
        error=_json(error),
        headers=json.loads(headers),
        body=body,
    )
    return emptied(letter) if erased else letter


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
