"""Replies on their way out: whoever settles a command does not wait for the bus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import nats.errors
import structlog
from nats.aio.client import Client

from handlers.adapters.tasks import end, watched
from handlers.execution.reply import Reply
from handlers.wire.at_once import write_at_once
from handlers.wire.headers import ERROR, ERROR_CODE

log = structlog.get_logger()


class Replies:
    """Publishes replies in order, one message each; what the bus does not take is lost, as any reply may be.

    At most `limit` wait: beyond it the bus is away, and so is who asked.
    """

    def __init__(self, connection: Callable[[], Client], *, limit: int = 50_000) -> None:
        self._connection = connection
        self._waiting: deque[tuple[str, Reply]] = deque(maxlen=limit)
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to publish."""
        self._task = watched(self._run(), "replies")

    async def stop(self) -> None:
        """Publish what waits, and end."""
        if self._task is not None:
            await end(self._task)
        await self._publish()

    def send(self, inbox: str, reply: Reply) -> None:
        """Send a reply to an inbox: at once when it is a lone one that completes, else soon."""
        if not self._waiting and reply.problem is None:
            block = b"PUB %b %d\r\n%b\r\n" % (inbox.encode(), len(reply.body), reply.body)
            if write_at_once(self._connection(), block):
                return
        self._waiting.append((inbox, reply))
        self._work.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            await self._publish()

    async def _publish(self) -> None:
        nc = self._connection()
        while self._waiting:
            inbox, reply = self._waiting.popleft()
            headers = None
            if reply.problem is not None:
                headers = {ERROR_CODE: str(reply.status), ERROR: reply.problem}
            try:
                await nc.publish(inbox, reply.body, headers=headers)
            except (nats.errors.Error, OSError) as error:
                log.warning("reply lost", error=type(error).__name__)
