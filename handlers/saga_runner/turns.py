"""Turns at a step: how many runs of this worker may be at it at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager


class Turns:
    """Bounds on steps by their names; a step without one has none. `waiting` counts the runs that wait."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._turns = {name: asyncio.Semaphore(limit) for name, limit in limits.items()}
        self.waiting = 0

    def bounds(self, step: str) -> bool:
        """Return whether the step called `step` has a bound."""
        return step in self._turns

    @asynccontextmanager
    async def at(self, step: str) -> AsyncGenerator[bool]:
        """Be at the step called `step`; tells whether that had to be waited for."""
        turn = self._turns.get(step)
        if turn is None:
            yield False
            return
        waited = turn.locked()
        self.waiting += 1
        try:
            await turn.acquire()
        finally:
            self.waiting -= 1
        try:
            yield waited
        finally:
            turn.release()
