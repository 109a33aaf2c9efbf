"""A look at the database now and then, for what a process would else find only with its next command.

A process may answer from memory for long. Its connections tell it of another incarnation of the database when
they are made (handlers/store/incarnation.py), so this uses one. It also tells of a clock that went back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psycopg
import structlog

from handlers.adapters.tasks import end, watched
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore

log = structlog.get_logger()

EVERY = 1.0
"""Seconds between two looks: each is one short statement."""

TOLD = 1.0
"""Seconds by which a clock has to be behind the log before anybody is told: servers step theirs by less."""


class DatabaseWatch:
    """Looks at the database of `store`, from `start` to `stop`."""

    def __init__(self, store: EventStore, *, every: float = EVERY) -> None:
        self._store, self._every = store, every
        self._behind = False

    async def start(self) -> None:
        """Begin to look."""
        self._task = watched(self._run(), "watch over the database")

    async def stop(self) -> None:
        """Look no more."""
        await end(self._task)

    async def _run(self) -> None:
        while True:
            with suppress(StoreError, psycopg.Error, OSError):  # who needs it tells of its absence
                self._tell(await self._store.clock_behind())
            await asyncio.sleep(self._every)

    def _tell(self, seconds: float) -> None:
        behind = seconds > TOLD
        if behind and not self._behind:
            log.error("the database's clock is behind the log: see `doctor`", seconds=round(seconds, 1))
        elif self._behind and not behind:
            log.info("the database's clock has caught up with the log")
        self._behind = behind
