"""Streams that are lost or weakened at run time are put back, by every process, whatever its roles.

What a lost stream held and nobody had read is gone; its readers notice another stream and begin anew. What a
weakened one let go of in between, too; TENANT_EVENTS gets it again from the log (handlers/relay/events.py).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import nats.errors
import structlog
from nats.aio.client import Client
from prometheus_client import CollectorRegistry, Gauge

from handlers.adapters import jetstream
from handlers.adapters.jetstream import JetStreamError, Json
from handlers.adapters.tasks import end, watched
from handlers.bus.stream_rules import StreamWeakened, departures

log = structlog.get_logger()

_AWAY = (nats.errors.Error, OSError, TimeoutError, JetStreamError)


async def departed(nc: Client, definitions: Mapping[str, Json]) -> dict[str, list[str]]:
    """Return by stream in what it is not as it was declared; that it is missing is one such thing.

    Raises JetStreamError, and nats-py's errors where the server does not answer.
    """
    found: dict[str, list[str]] = {}
    for name, wanted in definitions.items():
        info = await jetstream.stream_info(nc, name)
        what = ["missing"] if info is None else [*departures(info, wanted).values()]
        if what:
            found[name] = what
    return found


class StreamWatch:
    """Looks every `interval` seconds whether all streams are as `definitions` say; else it calls `declare`.

    One request a stream and look, each some microseconds of the server. What cannot be put back is told once.
    """

    def __init__(
        self,
        connection: Callable[[], Client],
        definitions: Mapping[str, Json],
        declare: Callable[[], Awaitable[object]],
        registry: CollectorRegistry,
        *,
        interval: float = 2.0,
    ) -> None:
        self._connection = connection
        self._definitions = definitions
        self._departed = Gauge(
            "tenants_streams_departed",
            "Whether a stream is not as the service declares it, at the last look",
            ("stream",),
            registry=registry,
        )
        self._told: dict[str, list[str]] = {}
        self._why = ""
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
                self._weakened(str(error))
            except _AWAY as error:
                log.debug("streams cannot be looked after", error=repr(error))
            except Exception as error:
                log.exception("streams cannot be looked after", error=type(error).__name__)

    def _weakened(self, why: str) -> None:
        if why != self._why:
            self._why = why
            log.error("a stream cannot be put back", why=why)

    async def _look(self) -> None:
        found = await departed(self._connection(), self._definitions)
        for name in self._definitions:
            self._departed.labels(name).set(name in found)
        told, self._told = self._told, found
        if found and found != told:
            log.error("streams are not as they were declared, and are put back", streams=found)
        if found:
            await self._declare()
