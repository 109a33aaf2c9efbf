"""Messages that a consumer of our streams gave up become dead letters.

The server tells of them once, to whoever listens; so a stream listens, and this is read from it, also later.
Its one durable consumer is shared by all relays. The letter goes through the outbox in the database, where
its id, made of the stream, the consumer and the message, lets it stand once.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NoReturn
from uuid import UUID, uuid5

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from handlers.adapters import jetstream
from handlers.adapters.beats import Beat, Beats
from handlers.adapters.jetstream import StreamMessage
from handlers.adapters.keyring import Keyring
from handlers.store.batch import Batch, DeadLetterRow, KeyRow
from handlers.store.errors import is_outage
from handlers.store.event_store import EventStore
from handlers.wire.dead_letters import sealed_headers
from handlers.wire.sealing import NOBODY, DataKey
from handlers.wire.subjects import Streams, Subjects, is_tenant_id

log = structlog.get_logger()

CONSUMER = "dead-letters"

AT_ONCE = 50
"""Advisories taken at once: bounds memory, with bodies of up to half a MiB."""

LOOK = 5.0
"""Seconds that a pull waits; then its consumer is looked after, for the stream may be another one."""

RETRY = 30
"""Seconds until an advisory that was not dealt with is delivered again."""

LONGEST_WAIT = 10.0
"""Seconds between two tries at most, while NATS or PostgreSQL is away."""

_LETTERS = UUID("7a0c9be1-9be4-5f2b-8d0a-0d5a3c1e7f42")


class Advisory(msgspec.Struct, frozen=True):
    """A message was delivered too often, or its consumer terminated it, maybe with a reason."""

    type: str
    stream: str
    consumer: str
    stream_seq: int
    timestamp: datetime
    deliveries: int = 0
    reason: str = ""

    @property
    def terminated(self) -> bool:
        """Whether the consumer gave the message up itself."""
        return self.type.endswith(".terminated")


class AdvisoryWatcher:
    """Writes a dead letter for each message that a consumer gave up; `run` it."""

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        keyring: Keyring,
        subjects: Subjects,
        streams: Streams,
        beat: Beat | None = None,
    ) -> None:
        self._beat = beat or Beats().engine("watch over advisories")
        self._nc = nc
        self._store = store
        self._keyring = keyring
        self._subjects = subjects
        self._stream = streams.advisories

    async def run(self) -> NoReturn:
        """Watch until cancelled; a lost server is waited for."""
        pause = 0.1
        while True:
            try:
                await self._watch()
                pause = 0.1
                self._beat.well()
            except Exception as error:  # noqa: BLE001 - an engine outlives whatever befalls it
                log.warning("advisories wait", error=repr(error), pause=pause)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause = min(pause * 2, LONGEST_WAIT)

    async def _watch(self) -> None:
        """Deal with advisories until none comes for a while."""
        await self._make_consumer()
        pull = await self._nc.jetstream().pull_subscribe_bind(CONSUMER, self._stream)
        try:
            while True:
                messages = await pull.fetch(AT_ONCE, timeout=LOOK)
                await self._bury(messages)
                self._beat.well()
        except TimeoutError:
            return
        finally:
            if not self._nc.is_closed:
                await pull.unsubscribe()

    async def _make_consumer(self) -> None:
        config = {
            "name": CONSUMER,
            "durable_name": CONSUMER,
            "ack_policy": "explicit",
            "ack_wait": RETRY * 1_000_000_000,
            "max_deliver": -1,
        }
        request = f"CONSUMER.CREATE.{self._stream}.{CONSUMER}"
        await jetstream.call(self._nc, request, {"stream_name": self._stream, "config": config})

    async def _bury(self, messages: Collection[Msg]) -> None:
        rows: list[DeadLetterRow] = []
        understood: list[Msg] = []
        for message in messages:
            try:
                row = await self._row(message.data)
            except jetstream.JetStreamError as error:  # this one comes again; the others go on
                log.warning("advisory waits", error=str(error))
                continue
            understood.append(message)
            if row is not None:
                rows.append(row)
        await self._keep(rows)
        for message in understood:
            await message.ack()

    async def _keep(self, rows: Sequence[DeadLetterRow]) -> None:
        """Write the letters; one that the database cannot hold as it is keeps its place and why alone."""
        if not rows:
            return
        try:
            await self._store.append(await self._sealed(rows))
        except Exception as error:
            if is_outage(error):
                raise
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._keep(rows[:middle])
                await self._keep(rows[middle:])
                return
            log.error("dead letter kept without headers and body", letter=str(rows[0].id), error=repr(error))
            bare = rows[0]._replace(subject="", headers="{}", body=b"")
            await self._store.append(await self._sealed([bare]))

    async def _sealed(self, rows: Collection[DeadLetterRow]) -> Batch:
        """Return the batch that keeps the letters, each sealed for its tenant."""
        keys = await self._keyring.prepare({_owner(row) for row in rows})
        letters = [_sealed(row, keys[_owner(row)].current) for row in rows]
        new = [
            KeyRow(tenant, each.current.id, each.wrapped, 0)
            for tenant, each in keys.items()
            if each.wrapped is not None
        ]
        return Batch(dead_letters=letters, keys=new)

    async def _row(self, data: bytes) -> DeadLetterRow | None:
        try:
            advisory = msgspec.json.decode(data, type=Advisory)
        except msgspec.DecodeError as error:
            log.error("advisory not understood", error=str(error))
            return None
        there = await jetstream.message(self._nc, advisory.stream, advisory.stream_seq)
        return _dead_letter(self._subjects, advisory, there)


def _dead_letter(subjects: Subjects, advisory: Advisory, there: StreamMessage | None) -> DeadLetterRow:
    subject = subjects.door(there.subject).replace("\x00", "\ufffd") if there else ""
    time = there.time if there else advisory.timestamp
    seed = f"{advisory.stream}:{advisory.consumer}:{advisory.stream_seq}:{time.timestamp()}"
    return DeadLetterRow(
        id=uuid5(_LETTERS, seed),
        tenant=_tenant(subject),
        stream=advisory.stream,
        sequence=advisory.stream_seq,
        reason="terminated" if advisory.terminated else "max-deliveries",
        subject=subject,
        headers=json.dumps(there.headers if there else {}),
        body=there.body if there else b"",
        error=json.dumps(_problem(advisory, there)),
        group=0,
    )


def _problem(advisory: Advisory, there: StreamMessage | None) -> dict[str, object]:
    why = advisory.reason or f"delivered {advisory.deliveries} times"
    gone = "" if there else "; the message itself is not in its stream any more"
    return {
        "type": "about:blank",
        "title": "A consumer gave the message up",
        "detail": f"{advisory.consumer}: {why}{gone}",
        "consumer": advisory.consumer,
        "deliveries": advisory.deliveries,
    }


def _sealed(row: DeadLetterRow, key: DataKey) -> DeadLetterRow:
    headers = json.dumps(sealed_headers(json.loads(row.headers), key))
    return row._replace(headers=headers, body=key.body(row.body))


def _owner(row: DeadLetterRow) -> UUID:
    return NOBODY if row.tenant == "unknown" else UUID(row.tenant)


def _tenant(subject: str) -> str:
    """Return the tenant whose id is the third token of the subject, or `unknown`."""
    token = [*subject.split("."), "", ""][2]
    return token if is_tenant_id(token) else "unknown"
