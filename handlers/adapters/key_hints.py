"""Hearing that keys were destroyed, and knowing whether one would hear it.

A hint that is lost must not leave a process with a key in memory. A connection that broke says so; one that
hangs says nothing, so the server is asked every second: its answer comes behind all that was told before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.adapters.tasks import end, watched

BEAT, SURE = 1.0, 3.0
"""Seconds between two questions to the server, and for how long its answer to one is good."""


class KeyHints:
    """Hears on `subject` whose keys were destroyed, from `start` to `stop`.

    `clock` is monotonic; it, `beat` and `sure` are in seconds.
    """

    def __init__(
        self,
        nc: Client,
        subject: str,
        *,
        beat: float = BEAT,
        sure: float = SURE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._nc, self._subject = nc, subject
        self._beat, self._sure, self._clock = beat, sure, clock
        self._proven, self._until = -1, 0.0
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def hearing(self) -> int | None:
        """Return which connection hears hints; None while nobody knows that one does."""
        connection: int = self._nc.stats["reconnects"]
        heard = self._nc.is_connected and connection == self._proven and self._clock() < self._until
        return connection if heard else None

    async def start(self, forget: Callable[[UUID], None]) -> None:
        """Tell `forget` of each tenant whose keys were destroyed from now on."""

        async def heard(hint: Msg) -> None:
            forget(UUID(hint.data.decode()))

        self._subscription = await self._nc.subscribe(self._subject, cb=heard)
        await self._ask()
        self._task = watched(self._keep_asking(), "hints of keys")

    async def stop(self) -> None:
        """Hear no more."""
        if self._task is not None:
            await end(self._task)
        self._until = 0.0
        if self._subscription is not None and not self._nc.is_closed:
            await self._subscription.unsubscribe()

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(self._beat)
            await self._ask()

    async def _ask(self) -> None:
        connection, asked = self._nc.stats["reconnects"], self._clock()
        try:
            async with asyncio.timeout(self._sure):
                await self._nc.flush()
        except (nats.errors.Error, OSError, TimeoutError):
            return
        if connection == self._nc.stats["reconnects"]:
            self._proven, self._until = connection, asked + self._sure
