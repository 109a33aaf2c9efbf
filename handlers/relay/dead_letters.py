"""From the outbox `service.dead_letters` into TENANT_DEAD_LETTERS.

A letter is marked as published once the stream has acknowledged it; its id is its message id, so one that is
published again (by another relay, or because its mark was lost) is dropped by the server. A stream that has
never held a letter is a new one: it gets all that the database has; one that was put back to an earlier state
gets what it lost (letter_places.py). What was published is forgotten here after a while: the stream has it.

No letter holds up the others. One that is too large, or that the stream refuses, goes out without what makes
it so, and says it; the whole stays here. One that the stream does not take even so is told of, and is tried
again later.

Of a letter to a tenant whose data is erased only what tells of nobody goes on: its id and its command's, its
place, and the problem's name. The rest goes from its row, too.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.errors import BadHeaderError, MaxPayloadError
from nats.js.errors import BadRequestError

from handlers.adapters import jetstream
from handlers.adapters.beats import Beat, Beats
from handlers.relay.letter_places import LetterPlaces
from handlers.relay.metrics import RelayMetrics
from handlers.store.event_store import EventStore
from handlers.wire.dead_letters import OMITTED, DeadLetter, emptied, least, packed, token
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
FROM service.dead_letters d WHERE d.published_at IS NULL AND d.id <> ALL (%s) ORDER BY d.at, d.id LIMIT %s"""

_PUBLISHED = """
UPDATE service.dead_letters d SET published_at = now(), omitted = p.omitted, number = p.number
FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) p(id, omitted, number) WHERE d.id = p.id"""

_EMPTIED = "UPDATE service.dead_letters SET headers = %s, body = %s, error = %s WHERE id = %s"

_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"

_FORGET = """
WITH gone AS (
    DELETE FROM service.dead_letters WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM service.dead_letters WHERE published_at >= %s AND published_at < now() - %s
        AND omitted = '' ORDER BY published_at LIMIT %s))
    RETURNING published_at)
SELECT count(*), max(published_at) FROM gone"""

_FORGET_HANDLING = """
DELETE FROM service.dead_letter_handling h
WHERE greatest(h.replayed_at, h.dismissed_at) < %s::timestamptz
AND NOT EXISTS (SELECT FROM service.dead_letters d WHERE d.id = h.id)"""
"""What was done about a letter was done after it was published: before the oldest one there is none."""

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Sent(NamedTuple):
    """What of a letter was omitted, the number it has in the stream, and whether it stood there before."""

    omitted: str
    number: int
    before: bool


class DeadLetterRelay:
    """Publishes what stands in the outbox of `store`; `run` it.

    `declare` makes the streams that are missing. A published letter is kept for `retention` seconds; what is
    older goes every `cleaning` seconds. `poll` is in seconds, too.
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
        self._places = LetterPlaces(nc, store, streams.dead_letters)
        self._declare = declare
        self._poll = poll
        self._retention = timedelta(seconds=retention)
        self._cleaning = cleaning
        self._forgotten = _EVER
        self._metrics = metrics
        self._refused: set[UUID] = set()
        """Letters that the stream does not take, in no form; they are tried again with each cleaning."""

    async def run(self) -> NoReturn:
        """Publish until cancelled; a lost server is waited for."""
        loop = asyncio.get_running_loop()
        pause, cleaned = self._poll, loop.time()
        while True:
            try:
                published = await self.publish()
                if loop.time() - cleaned >= self._cleaning:
                    cleaned = loop.time()
                    self._refused.clear()
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
        newest = await self._look_after_stream()
        async with self._store.transaction() as transaction:
            cursor = transaction.connection.cursor(binary=True)
            rows = await (await cursor.execute(_PENDING, (list(self._refused), AT_ONCE))).fetchall()
        letters = [(row[0], row[1], _letter(self._subjects, row)) for row in rows]
        await self._empty([(key, letter) for key, _, letter in letters if letter.omitted])
        outcomes = await asyncio.gather(
            *(self._publish(tenant, letter) for _, tenant, letter in letters), return_exceptions=True
        )
        failed: list[BaseException] = []
        published: dict[UUID, Sent] = {}
        for (key, _, letter), outcome in zip(letters, outcomes, strict=True):
            if isinstance(outcome, Sent):
                published[key] = outcome
            elif _is_of_the_letter(outcome):
                self._refused.add(key)
                log.error("dead letter refused", letter=letter.id, error=repr(outcome))
            else:
                failed.append(outcome)
        await self._mark(published)
        if any(sent.number <= newest and not sent.before for sent in published.values()):
            await self._places.mend_all()  # a number that was given before: it was put back since the look
        if failed:
            raise failed[0]
        return len(letters)

    async def forget(self) -> int:
        """Delete letters that were published long ago, and return how many.

        Raises StoreError, JetStreamError.
        """
        forgotten = 0
        while True:
            async with self._store.transaction() as transaction:
                await transaction.connection.execute(_BY_INDEX)
                values = (self._forgotten, self._retention, AT_MOST)
                row = await (await transaction.connection.execute(_FORGET, values)).fetchone()
            assert row is not None
            count, latest = row
            forgotten += count
            self._forgotten = latest or self._forgotten
            if count < AT_MOST:
                break
        await self._forget_handling()
        return forgotten

    async def _forget_handling(self) -> None:
        """Forget what was done about letters that are not in the stream any more."""
        info = await jetstream.stream_info(self._nc, self._stream)
        if info is None or not info["state"]["messages"]:
            return
        async with self._store.transaction() as transaction:
            await transaction.connection.execute(_FORGET_HANDLING, (info["state"]["first_ts"],))

    async def _look_after_stream(self) -> int:
        """See to it that the stream is there, and that what it lost is published again.

        Returns the highest number that it acknowledged a letter under before.
        """
        newest = await self._places.newest()
        info = await jetstream.stream_info(self._nc, self._stream)
        if info is None:
            await self._declare()
            info = await jetstream.call(self._nc, f"STREAM.INFO.{self._stream}")
        await self._places.mend(newest, info)
        return newest.number

    async def _publish(self, tenant: str, letter: DeadLetter) -> Sent:
        """Publish a letter, and return what came of it."""
        subject = self._subjects.dead(token(tenant), token(letter.stream), token(letter.reason))
        headers, body = packed(letter, self._nc.max_payload)
        jetstream_of = self._nc.jetstream(timeout=PATIENCE)
        try:
            stored = await jetstream_of.publish(subject, body, headers=headers)
        except Exception as error:
            if not _is_of_the_letter(error):
                raise
            headers = least(letter)
            stored = await jetstream_of.publish(subject, b"", headers=headers)
        self._metrics.buried(token(letter.reason))
        omitted = "" if letter.omitted else headers.get(OMITTED, "")
        about = {"letter": letter.id, "tenant_id": tenant, "stream": letter.stream, "reason": letter.reason}
        if omitted:
            log.error(
                "dead letter without all of it", omitted=omitted, whole="in service.dead_letters", **about
            )
        else:
            log.info("dead letter", **about)
        return Sent(omitted, stored.seq, bool(stored.duplicate))

    async def _empty(self, letters: Collection[tuple[UUID, DeadLetter]]) -> None:
        """Keep no more of these letters than is told of them."""
        if not letters:
            return
        async with self._store.transaction() as transaction:
            for key, letter in letters:
                values = (json.dumps(dict(letter.headers)), letter.body, json.dumps(letter.error), key)
                await transaction.connection.execute(_EMPTIED, values)

    async def _mark(self, published: Mapping[UUID, Sent]) -> None:
        if published:
            sent = published.values()
            values = (list(published), [each.omitted for each in sent], [each.number for each in sent])
            async with self._store.transaction() as transaction:
                await transaction.connection.execute(_PUBLISHED, values)


def _is_of_the_letter(error: BaseException) -> bool:
    """Return whether a letter was not taken for what it is: the server, or its client, will never take it."""
    return isinstance(error, BadRequestError | MaxPayloadError | BadHeaderError | ValueError)


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
