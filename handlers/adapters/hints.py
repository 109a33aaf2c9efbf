"""Hints of commits and of writes, on NATS core: told by whoever appends, heard by whoever reads.

Each hint wakes every process that reads the log, and on few cores they wake beside the caller who has just
got his answer. So whoever commits all the time tells of several commits together, and a process hears each
hint once, whatever it has that reads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.adapters.pace import Pace
from handlers.adapters.tasks import end, watched
from handlers.wire.at_once import write_at_once

INTERVAL, BURST = 0.004, 3
"""Seconds between two hints of a process that commits all the time, and how many go at once after a pause."""


class CommitTeller:
    """Tells on `subject` that the log has moved, from `start` to `stop`. A lost hint costs readers a poll."""

    def __init__(self, nc: Client, subject: str) -> None:
        self._nc = nc
        self._subject = subject
        self._pace = Pace(INTERVAL, BURST)
        self._head = 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def moved(self, head: int) -> None:
        """Tell soon that the log's end is `head`."""
        self._head = head
        self._moved.set()

    async def start(self) -> None:
        """Begin to tell."""
        self._task = watched(self._run(), "commit hints")

    async def stop(self) -> None:
        """Tell no more."""
        if self._task is not None:
            await end(self._task)

    async def _run(self) -> None:
        while True:
            await self._moved.wait()
            await self._pace.turn()
            self._moved.clear()
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._nc.publish(self._subject, b"%d" % self._head)


class WriteTeller:
    """Tells on `subject` which tenants are being written, so that nobody gives what he remembers of them.

    It is told while the commit is under way, which takes longer than the hint, and before the outcome: on one
    server, whoever hears of the outcome and asks is behind the hint. A hint has at most `largest` bytes.
    """

    def __init__(self, nc: Client, subject: str, *, largest: int = 64 * 1024) -> None:
        self._nc = nc
        self._subject = subject
        self._most = largest // 37
        self._tasks: set[asyncio.Task[None]] = set()

    def writing(self, tenants: Sequence[str]) -> None:
        """Tell at once that these tenants are being written."""
        for start in range(0, len(tenants), self._most):
            body = ",".join(tenants[start : start + self._most]).encode()
            block = b"PUB %b %d\r\n%b\r\n" % (self._subject.encode(), len(body), body)
            if not write_at_once(self._nc, block):
                task = asyncio.create_task(self._publish(body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _publish(self, body: bytes) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._nc.publish(self._subject, body)


class CommitListener:
    """Hears hints on `subject` once for all that listen; a listener is called with a hint's body."""

    def __init__(self, nc: Client, subject: str) -> None:
        self._nc = nc
        self._subject = subject
        self._listeners: list[Callable[[bytes], None]] = []
        self._subscription: Subscription | None = None
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def heard_by(self, listener: Callable[[bytes], None]) -> AsyncGenerator[None]:
        """Call `listener` with each hint while inside."""
        self._listeners.append(listener)
        try:
            async with self._changing:
                if self._subscription is None:
                    self._subscription = await self._nc.subscribe(self._subject, cb=self._heard)
            yield
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                subscription, self._subscription = self._subscription, None
                if subscription is not None and not self._nc.is_closed:
                    await subscription.unsubscribe()

    async def _heard(self, hint: Msg) -> None:
        for listener in self._listeners:
            listener(hint.data)
