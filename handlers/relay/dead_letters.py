"""The relay of dead letters: rows of `service.dead_letters`, and the server's advisories, into their stream.

A refused command is a row, written with its outcome; a message that another consumer gave up is told by
an advisory of the server. Both become messages with the original's headers and body, and with what happened.
A row is marked only after the stream has acknowledged it, under an id that the stream knows it by.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, NoReturn

import nats.errors
import nats.js.errors
import psycopg
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry, Counter
from psycopg.rows import DictRow, dict_row

from handlers.wire.headers import MSG_ID
from handlers.wire.subjects import Streams, Subjects

log = structlog.get_logger()

BATCH = 200
"""Rows published before they are marked in one statement."""

PATIENCE = 5.0
"""Seconds that an acknowledgement may take; then the row is tried again."""

LONGEST_PAUSE = 5.0

_WAITING = """
SELECT * FROM service.dead_letters WHERE published_at IS NULL
ORDER BY at, id LIMIT %s FOR UPDATE SKIP LOCKED"""
_MARK = "UPDATE service.dead_letters SET published_at = now() WHERE id = ANY (%s)"

ADVISORIES = {
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES": "max-deliveries",
    "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED": "terminated",
}


class DeadLetterRelay:
    """Publishes dead letters; `run` it. `poll` is how long it waits for a hint, in seconds."""

    def __init__(
        self,
        nc: Client,
        postgres_url: str,
        subjects: Subjects,
        streams: Streams,
        registry: CollectorRegistry,
        *,
        poll: float = 1.0,
    ) -> None:
        self._nc = nc
        self._js = nc.jetstream(timeout=PATIENCE)
        self._url = postgres_url
        self._subjects = subjects
        self._streams = streams
        self._poll = poll
        self._hint = asyncio.Event()
        self._published = Counter(
            "tenants_dead_letters", "Dead letters published", ["reason"], registry=registry
        )

    async def run(self) -> NoReturn:
        """Publish until cancelled; a server that is away is waited for."""
        subscriptions = [await self._nc.subscribe(self._subjects.hint("dead"), cb=self._hinted)]
        for stem in ADVISORIES:
            subscriptions += [
                await self._nc.subscribe(f"{stem}.{stream}.>", queue="dead-letters", cb=self._advised)
                for stream in (self._streams.commands, self._streams.events, self._streams.usage)
            ]
        pause = 0.1
        try:
            while True:
                try:
                    await self._publish_waiting()
                    pause = 0.1
                except (
                    psycopg.Error,
                    nats.errors.Error,
                    nats.js.errors.Error,
                    OSError,
                    TimeoutError,
                ) as error:
                    log.warning("dead letters wait", why=type(error).__name__, pause=pause)
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                    pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            if not self._nc.is_closed:
                for subscription in subscriptions:
                    await subscription.unsubscribe()

    async def _publish_waiting(self) -> NoReturn:
        connecting = psycopg.AsyncConnection[DictRow].connect(
            self._url, autocommit=True, connect_timeout=5, row_factory=dict_row
        )
        async with await connecting as connection:
            while True:
                if await self._publish_batch(connection) < BATCH:
                    await self._wait()

    async def _publish_batch(self, connection: psycopg.AsyncConnection[DictRow]) -> int:
        async with connection.transaction():
            rows = await (await connection.execute(_WAITING, (BATCH,))).fetchall()
            for row in rows:
                await self._publish(row)
            if rows:
                await connection.execute(_MARK, ([row["id"] for row in rows],))
        return len(rows)

    async def _publish(self, row: DictRow) -> None:
        facts = {
            "Dead-Letter-Subject": row["subject"],
            "Dead-Letter-Stream": row["stream"],
            "Dead-Letter-Sequence": str(row["sequence"]),
            "Dead-Letter-Reason": row["reason"],
            "Dead-Letter-Time": row["at"].isoformat(),
            "Dead-Letter-Error": row["error"],
        }
        original: dict[str, Any] = json.loads(row["headers"])
        kept = {name: str(value) for name, value in original.items() if not name.lower().startswith("nats-")}
        headers = {**_printable(kept), **_printable(facts), MSG_ID: str(row["id"])}
        subject = self._subjects.dead(row["tenant"], row["stream"], row["reason"])
        await self._js.publish(subject, row["body"], headers=headers, stream=self._streams.dead_letters)
        self._published.labels(row["reason"]).inc()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._hint.wait()
        except TimeoutError:
            return
        finally:
            self._hint.clear()

    async def _hinted(self, _: Msg) -> None:
        self._hint.set()

    async def _advised(self, message: Msg) -> None:
        """Copy a message that a consumer gave up: the server keeps it where it is, and tells nobody else."""
        try:
            await self._bury(json.loads(message.data), ADVISORIES[message.subject.rsplit(".", 2)[0]])
        except nats.js.errors.NotFoundError:
            log.warning("a message was given up and is gone", advisory=message.subject)
        except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
            log.error("an advisory was not followed", advisory=message.subject, why=type(error).__name__)

    async def _bury(self, advisory: dict[str, Any], reason: str) -> None:
        stream, sequence = advisory["stream"], advisory["stream_seq"]
        found = await self._js.get_msg(stream, sequence)
        tokens = (found.subject or "").split(".")
        tenant = tokens[2] if len(tokens) > 2 else "unknown"
        if stream == self._streams.commands and len(tokens) > 3:
            tenant = tokens[3]  # stored below its partition
        facts = {
            "Dead-Letter-Subject": found.subject or "",
            "Dead-Letter-Stream": stream,
            "Dead-Letter-Sequence": str(sequence),
            "Dead-Letter-Consumer": advisory["consumer"],
            "Dead-Letter-Deliveries": str(advisory.get("deliveries", "")),
            "Dead-Letter-Reason": reason,
        }
        kept = {
            name: value
            for name, value in (found.headers or {}).items()
            if not name.lower().startswith("nats-")
        }
        identity = f"{stream}:{sequence}:{advisory['consumer']}:{reason}"
        headers = {**_printable(kept), **_printable(facts), MSG_ID: identity}
        await self._js.publish(
            self._subjects.dead(tenant, stream, reason), found.data or b"", headers=headers
        )
        self._published.labels(reason).inc()


def _printable(headers: dict[str, str]) -> dict[str, str]:
    """Return headers that a message can carry: no line breaks, no colon in a name."""
    return {
        name.replace(":", "-"): value.replace("\r", " ").replace("\n", " ").strip()
        for name, value in headers.items()
        if name.strip()
    }
