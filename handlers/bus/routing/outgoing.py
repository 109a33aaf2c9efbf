"""Messages on their way out, without waiting for the bus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import nats.errors
import structlog
from nats.aio.client import Client

from handlers.adapters.tasks import end, watched
from handlers.wire.at_once import write_at_once

log = structlog.get_logger()


class Outgoing:
    """Publishes in order; what the bus does not take is lost, as any message of NATS core may be."""

    def __init__(self, connection: Callable[[], Client]) -> None:
        self._connection = connection
        self._waiting: deque[tuple[str, bytes, str]] = deque()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to publish."""
        self._task = watched(self._run(), "forwarded commands")

    async def stop(self) -> None:
        """Publish no more."""
        if self._task is not None:
            await end(self._task)

    def send(self, subject: str, body: bytes, inbox: str) -> None:
        """Send a message whose reply goes to `inbox`: at once where the socket takes it, else soon."""
        if not self._waiting:
            head = b"PUB %b %b %d\r\n" % (subject.encode(), inbox.encode(), len(body))
            if write_at_once(self._connection(), b"%b%b\r\n" % (head, body)):
                return
        self._waiting.append((subject, body, inbox))
        self._work.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                subject, body, inbox = self._waiting.popleft()
                try:
                    await self._connection().publish(subject, body, reply=inbox)
                except (nats.errors.Error, OSError) as error:
                    log.debug("message to another worker lost", error=type(error).__name__)
