"""Pacing work that hints cause: a few times at once, and under a flood only now and then."""

from __future__ import annotations

import asyncio


class Pace:
    """Lets `burst` turns through at once, and in the long run one every `interval` seconds."""

    def __init__(self, interval: float, burst: int = 1) -> None:
        self._interval = interval
        self._credit = (burst - 1) * interval
        self._due = 0.0

    async def turn(self) -> None:
        """Wait until it is time for a turn, and take it."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now)
        early = self._due - self._credit - now
        self._due += self._interval
        if early > 0:
            await asyncio.sleep(early)
