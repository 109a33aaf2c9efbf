"""Streams that are lost while the service runs are made again, by every process, whatever its roles are.

What such a stream held and nobody had read is gone; its readers notice another stream and begin anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import nats.errors
import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.tasks import end, watched
from handlers.bus.stream_rules import StreamWeakened
from handlers.wire.subjects import Streams

log = structlog.get_logger()

_AWAY = (nats.errors.Error, OSError, TimeoutError, JetStreamError)


async def missing(nc: Client, streams: Streams) -> frozenset[str]:
    """Return the names of the service's streams that are not there.

    Raises JetStreamError, and nats-py's errors where the server does not answer.
    """
    wanted = {
        streams.commands,
        streams.events,
        streams.context_stream,
        streams.dead_letters,
        streams.advisories,
    }
    return frozenset(wanted - await jetstream.stream_names(nc))


class StreamWatch:
    """Looks every `interval` seconds whether all streams are there, and calls `declare` where one is not.

    One request a look: it costs the server some microseconds.
    """

    def __init__(
        self,
        connection: Callable[[], Client],
        streams: Streams,
        declare: Callable[[], Awaitable[object]],
        *,
        interval: float = 2.0,
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._declare = declare
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch."""
        self._task = watched(self._run(), "stream-watch")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            await end(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self._look()
            except StreamWeakened as error:
                log.error("a stream is not as it was declared", why=str(error))
            except _AWAY as error:
                log.debug("streams cannot be looked after", error=repr(error))
            except Exception as error:
                log.exception("streams cannot be looked after", error=type(error).__name__)

    async def _look(self) -> None:
        lost = await missing(self._connection(), self._streams)
        if lost:
            log.error("streams were lost, and are made again", streams=sorted(lost))
            await self._declare()
