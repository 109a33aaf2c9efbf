"""Waiting for a position: one watch for all queries of a process, fed by hints, and by looking."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable
from itertools import count

from handlers.adapters.tasks import watched


class Positions:
    """How far the read models are known to be.

    `look` asks for the position; it is called every `poll` seconds while somebody waits, since a hint can be
    lost. It may raise: then nothing is known, and those who wait go on waiting.
    """

    def __init__(self, look: Callable[[], Awaitable[int]], *, poll: float = 0.1) -> None:
        self._look = look
        self._poll = poll
        self._position = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._turn = count()
        self._looking: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not future.done() for _, _, future in self._waiting)

    def heard(self, position: int) -> None:
        """Take in that the read models reached `position`."""
        self._position = max(self._position, position)
        while self._waiting and self._waiting[0][0] <= self._position:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)

    def forget(self) -> None:
        """Begin anew: the database is another incarnation, which may not have got as far."""
        self._position = 0

    async def reached(self, position: int, within: float) -> bool:
        """Wait until the read models include `position`; returns whether they do `within` so many seconds."""
        if position <= self._position:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (position, next(self._turn), future))
        if self._looking is None or self._looking.done():
            self._looking = watched(self._keep_looking(), "position watch")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await future
        return future.done() and not future.cancelled()

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            self._waiting = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)
            if not self._waiting:
                return
            with contextlib.suppress(
                Exception
            ):  # the database is away: the waiting ones have their own limits
                self.heard(await self._look())
            await asyncio.sleep(self._poll)
