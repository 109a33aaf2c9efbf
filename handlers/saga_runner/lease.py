"""A worker's lease: under which name it holds runs, and until when it may act for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from handlers.saga_runner.agenda import Agenda


class Lease:
    """One lease after another: a lost one is followed by one of a new name."""

    def __init__(self, agenda: Agenda, length: timedelta, new_id: Callable[[], UUID]) -> None:
        self._agenda, self._length, self._new_id = agenda, length.total_seconds(), new_id
        self._until = 0.0
        self._renewed = asyncio.Event()
        self.owner = new_id()

    async def begin(self) -> None:
        """Begin a lease under a new name. Raises psycopg.OperationalError."""
        self.owner = self._new_id()
        asked = asyncio.get_running_loop().time()
        await self._agenda.register(self.owner)
        self._extend(asked)

    async def renew(self) -> bool:
        """Renew the lease; returns False when it is lost. Raises psycopg.OperationalError."""
        asked = asyncio.get_running_loop().time()
        if not await self._agenda.renew(self.owner):
            self._until = 0.0
            return False
        self._extend(asked)
        return True

    async def held(self) -> None:
        """Wait until the lease certainly holds: a worker that was paused must look before it acts.

        So must one whose connection is gone: others may take it for dead before its time is over.
        """
        while asyncio.get_running_loop().time() >= self._until or not self._agenda.standing:
            await self._renewed.wait()

    async def owns(self, operation_id: UUID) -> bool:
        """Return whether the run is held under this lease. Raises psycopg.OperationalError."""
        return await self._agenda.owns(self.owner, operation_id)

    def _extend(self, asked: float) -> None:
        self._until = asked + self._length
        self._renewed.set()
        self._renewed = asyncio.Event()
