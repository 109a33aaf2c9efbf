"""The role `sagas` of a process: a worker, woken by what others commit, telling others what it commits."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from prometheus_client import CollectorRegistry

from handlers.adapters.beats import Beats
from handlers.adapters.clock import utc_now
from handlers.adapters.effects import Effects
from handlers.adapters.hints import CommitListener
from handlers.execution.versions import Outdated, Versions
from handlers.saga_runner.agenda import Agenda
from handlers.saga_runner.driver import Parts
from handlers.saga_runner.lane import Lane
from handlers.saga_runner.metrics import Metrics
from handlers.saga_runner.news import News
from handlers.saga_runner.run import Sagas
from handlers.saga_runner.turns import Turns
from handlers.saga_runner.worker import Limits, Worker
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Subjects
from sagas.registry import SAGAS
from tenant_domain.catalogue import Policy
from tenant_domain.operation.events import OperationParked

log = structlog.get_logger()

QUICK, HEAVY = 256, 8
"""Most runs in one transaction. Changes of the catalogue take milliseconds each, and many locks together, so
few of them share one; quick steps share it with whoever is at work."""

HEAVY_AT_ONCE = 2
"""Transactions of heavy steps at a time: each keeps a core of the database busy, and those of different
tenants do not wait for each other. Quick steps would only share less."""

_REMEMBERED = 256
"""How many of its own hints a process recognises, so that it does not wake itself."""


class SagasRole:
    """Drives sagas until it is stopped. `store`, `nats` and what is behind `effects` belong to the caller.

    `look` is how often a long effect outside the database looks whether an operator stopped it (seconds).
    """

    def __init__(
        self,
        *,
        postgres_url: str,
        store: EventStore,
        nats: Client,
        subjects: Subjects,
        effects: Effects,
        policy: Policy,
        registry: CollectorRegistry,
        limits: Limits | None = None,
        sagas: Sagas = SAGAS,
        look: float = 0.5,
        now: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], UUID] = uuid4,
        commits: CommitListener | None = None,
        beats: Beats | None = None,
    ) -> None:
        self._nats, self._hints = nats, subjects.hint("committed")
        self._own: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._commits = commits or CommitListener(nats, self._hints)
        self._listening = AsyncExitStack()
        self._metrics = Metrics(registry)
        self._versions = Versions(store, sagas=sagas)
        limits = limits or Limits()

        def parts(held: Callable[[], Awaitable[None]], owns: Callable[[UUID], Awaitable[bool]]) -> Parts:
            return Parts(
                store=store,
                quick=Lane(store, size=QUICK, tell=self._tell),
                heavy=Lane(store, size=HEAVY, tell=self._tell, at_once=HEAVY_AT_ONCE),
                effects=effects,
                turns=Turns(limits.steps),
                sagas=sagas,
                policy=policy,
                tell=self._tell,
                held=held,
                owns=owns,
                is_newer=self._is_newer,
                now=now,
                chance=chance,
                look=look,
            )

        agenda = Agenda(postgres_url, timedelta(seconds=limits.lease))
        self._worker = Worker(agenda, parts, limits, new_id, (beats or Beats()).engine("saga worker"))
        self._metrics.running.set_function(lambda: self._worker.running)

    async def start(self) -> None:
        """Begin to work; neither server needs to be there yet."""
        await self._listening.enter_async_context(self._commits.heard_by(self._hinted))
        self._versions.start()
        self._worker.start()

    async def stop(self) -> None:
        """Give back what is at work, and end."""
        await self._listening.aclose()
        await self._worker.stop()
        await self._versions.stop()

    async def _is_newer(self, what: Outdated) -> bool:
        return await self._versions.who_knows(facts=what.facts, steps=what.steps) == "alive"

    def _hinted(self, hint: bytes) -> None:
        if hint not in self._own:
            self._worker.wake()

    async def _tell(self, head: int, news: list[News]) -> None:
        body = str(head).encode()
        self._own.append(body)
        try:
            await self._nats.publish(self._hints, body)
        except (NatsError, OSError) as error:
            log.debug("hint not sent", error=type(error).__name__)
        await asyncio.sleep(0)  # a turn of the loop for the hint to go: nobody waits for what follows
        for each in news:
            self._metrics.count(each)
            _log_parked(each)


def _log_parked(news: News) -> None:
    for _, event in news.events:
        if isinstance(event, OperationParked):
            log.warning(
                "operation parked",
                tenant_id=str(news.tenant_id),
                operation_id=str(news.operation_id),
                kind=news.kind,
                step=event.step,
                reason=event.reason,
            )
