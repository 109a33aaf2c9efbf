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

from handlers.adapters.command_stream import CommandStream
from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.tasks import end, watched
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore

log = structlog.get_logger()

_CHUNK = 5_000
"""Outcomes forgotten in one transaction: some ten milliseconds, in which the append is not in the way."""

_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"

FORGET = """
WITH gone AS (
    DELETE FROM service.command_ledger WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM service.command_ledger WHERE decided_at >= %s AND decided_at < %s
        ORDER BY decided_at LIMIT %s))
    RETURNING decided_at)
SELECT count(*), max(decided_at) FROM gone"""
"""Deletes the oldest outcomes from a time on: from where the last one ended, behind what that deleted."""

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Upkeep:
    """Cleans up every `interval` seconds, in the one process for which `mine` says so.

    Outcomes are kept for `retention` seconds, and longer while a command as old may still be delivered.
    """

    def __init__(
        self,
        commands: CommandStream,
        store: EventStore,
        *,
        mine: Callable[[], bool],
        retention: float,
        interval: float,
    ) -> None:
        self._commands = commands
        self._store = store
        self._mine = mine
        self._retention = timedelta(seconds=retention)
        self._interval = interval
        self._forgotten = _EVER
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to clean up."""
        self._task = watched(self._run(), "command-upkeep")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            await end(self._task)

    async def clean(self) -> None:
        """Purge what all partitions have passed, then forget old outcomes."""
        info = await self._commands.purge()
        if info is not None:
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

    async def _forget(self, info: dict[str, Any]) -> None:
        oldest = datetime.now(UTC) - self._retention
        if info["state"]["messages"]:
            oldest = min(oldest, msgspec.convert(info["state"]["first_ts"], datetime))
        count = _CHUNK
        while count == _CHUNK:
            async with self._store.transaction() as transaction:
                await transaction.connection.execute(_BY_INDEX)
                values = (self._forgotten, oldest, _CHUNK)
                row = await (await transaction.connection.execute(FORGET, values)).fetchone()
            assert row is not None
            count, latest = row
            if count:
                self._forgotten = latest
                log.info("outcomes forgotten", count=count)
