"""What must go some time: decided commands from the stream, old outcomes from the ledger."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import nats.errors
import psycopg
import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import JetStreamError
from handlers.bus.intake.claims import Claims
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

_CHUNK = 5_000
"""Outcomes forgotten in one transaction: some ten milliseconds, in which the append is not in the way."""

_FORGET = """
DELETE FROM service.command_ledger WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM service.command_ledger WHERE decided_at < %s LIMIT %s))"""


class Upkeep:
    """Cleans up every `interval` seconds, in the one process for which `mine` says so.

    Outcomes are kept for `retention` seconds, and longer while a command as old may still be delivered.
    """

    def __init__(
        self,
        connection: Callable[[], Client],
        store: EventStore,
        claims: Claims,
        subjects: Subjects,
        stream: str,
        *,
        mine: Callable[[], bool],
        retention: float,
        interval: float,
    ) -> None:
        self._connection = connection
        self._store = store
        self._claims = claims
        self._subjects = subjects
        self._stream = stream
        self._mine = mine
        self._retention = timedelta(seconds=retention)
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to clean up."""
        self._task = asyncio.create_task(self._run(), name="command-upkeep")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def clean(self) -> None:
        """Purge what all partitions have passed, then forget old outcomes."""
        info = await jetstream.stream_info(self._connection(), self._stream)
        if info is None:
            return
        await self._purge(info)
        await self._forget(info)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.8, 1.2))  # noqa: S311
            if not self._mine():
                continue
            try:
                await self.clean()
            except (
                JetStreamError,
                nats.errors.Error,
                StoreError,
                psycopg.Error,
                OSError,
                TimeoutError,
            ) as error:
                log.warning("commands not cleaned up", error=repr(error))
            except Exception as error:
                log.exception("commands cannot be cleaned up", error=type(error).__name__)

    async def _purge(self, info: dict[str, Any]) -> None:
        passed = await self._passed(info)
        if passed >= info["state"]["first_seq"] and info["state"]["messages"]:
            purged = await jetstream.call(
                self._connection(), f"STREAM.PURGE.{self._stream}", {"seq": passed + 1}
            )
            log.debug("decided commands purged", count=purged["purged"], upto=passed)

    async def _passed(self, info: dict[str, Any]) -> int:
        """Return up to where no partition has anything left to decide.

        A partition without a message after its sequence has passed all that was there before we asked.
        """
        passed: int = info["state"]["last_seq"]
        places = await self._claims.everywhere()
        if any(place.stream != info["created"] for place in places.values()):
            return 0  # not all count in this stream yet
        for partition, place in sorted(places.items(), key=lambda item: item[1].sequence):
            if place.sequence >= passed:
                break
            subject = self._subjects.partition(partition)
            found = await jetstream.message(self._connection(), self._stream, place.sequence + 1, subject)
            if found is not None:
                passed = min(passed, found.sequence - 1)
        return passed

    async def _forget(self, info: dict[str, Any]) -> None:
        oldest = datetime.now(UTC) - self._retention
        if info["state"]["messages"]:
            oldest = min(oldest, msgspec.convert(info["state"]["first_ts"], datetime))
        forgotten = _CHUNK
        while forgotten == _CHUNK:
            async with self._store.transaction() as transaction:
                cursor = await transaction.connection.execute(_FORGET, (oldest, _CHUNK))
                forgotten = cursor.rowcount
            if forgotten:
                log.info("outcomes forgotten", count=forgotten)
