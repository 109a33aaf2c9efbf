"""The durable door of one process: a pump for each partition that it holds."""

from __future__ import annotations

import asyncio
import contextlib

import nats.errors
import psycopg
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.adapters.beats import Beat, Beats
from handlers.adapters.tasks import end, watched
from handlers.bus.intake.claims import Share
from handlers.bus.intake.pump import Door, Pump
from handlers.bus.routing import owners
from handlers.execution.metrics import CommandMetrics
from handlers.execution.versions import Outdated
from handlers.store.errors import StoreError

log = structlog.get_logger()

HINT = "partitions"
"""Told to the other workers when one gives partitions back, or comes."""

_AWAY = (psycopg.Error, StoreError, OSError, TimeoutError)


class DurableDoor:
    """Holds a fair share of the partitions, however many workers there are, and reads them.

    `tick` is how many seconds lie between two looks at who lives: a worker that was killed is missed after
    that long at most.
    """

    def __init__(
        self,
        door: Door,
        metrics: CommandMetrics,
        *,
        tick: float = 0.25,
        grace: float = 3.0,
        beat: Beat | None = None,
    ) -> None:
        self._beat = beat or Beats().engine("durable door")
        self._door = door
        self._metrics = metrics
        self._tick = tick
        self._grace = grace
        self._pumps: dict[int, Pump] = {}
        self._wake = asyncio.Event()
        self._hints: Subscription | None = None
        self._reconnects = 0
        self._away = False
        self._newer: Outdated | None = None
        self._aside = False
        self._task: asyncio.Task[None] | None = None

    def step_aside(self, newer: Outdated) -> None:
        """Leave the partitions to newer workers, from the next look on."""
        self._newer = newer
        self._wake.set()

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are read here."""
        return frozenset(self._pumps)

    async def start(self) -> None:
        """Begin to claim and read partitions, as soon as database and bus let it."""
        self._door.versions.start()
        nc = self._door.connection()
        self._reconnects = nc.stats["reconnects"]
        self._hints = await nc.subscribe(self._door.subjects.hint(HINT), cb=self._hinted)
        self._task = watched(self._run(), "durable-door")

    async def stop(self) -> None:
        """Settle what is being settled, and give all partitions back."""
        if self._task is not None:
            await end(self._task)
        await self._door.versions.stop()
        await self._stop(list(self._pumps))
        try:
            await self._door.claims.leave()
        except _AWAY:
            log.warning("partitions not given back: the others wait for the lease to end")
        await self._hint()
        await self._hint(owners.HINT)
        if self._hints is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._hints.unsubscribe()

    async def _run(self) -> None:
        came = False
        while True:
            try:
                await self._look()
                self._beat.well()
                if not came:
                    await self._hint()
                came = True
                self._away = False
            except _AWAY as error:
                if not self._away:
                    log.warning("partitions cannot be claimed", error=repr(error))
                self._away = True
            except Exception as error:
                log.exception("partitions cannot be shared", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tick):
                    await self._wake.wait()
            self._wake.clear()

    async def _look(self) -> None:
        if self._newer is not None and await self._is_left_to(self._newer):
            return
        share = await self._door.claims.claim()
        former = self.partitions
        await self._stop([each for each in self._pumps if each not in share.held or self._pumps[each].ended])
        await self._give_back(share)
        new = [each for each in share.held if each not in self._pumps]
        for partition, place in (await self._door.claims.places(new) if new else {}).items():
            self._pumps[partition] = Pump(self._door, partition, place)
        self._metrics.holding(len(self._pumps))
        if self.partitions != former:
            await self._hint(owners.HINT)
        self._check_connection()

    async def _is_left_to(self, newer: Outdated) -> bool:
        """Have nothing here while a worker lives that knows more; return whether one does."""
        versions = self._door.versions
        if await versions.who_knows(commands=newer.commands, facts=newer.facts) != "alive":
            log.warning("the newer version is gone, partitions are read again", why=str(newer))
            self._newer, self._aside = None, False
            versions.start()
            return False
        if not self._aside:
            log.warning("partitions are left to newer workers", why=str(newer), partitions=len(self._pumps))
            await versions.stop()
            await self._stop(list(self._pumps))
            await self._door.claims.leave()
            self._metrics.holding(0)
            self._aside = True
            await self._hint()
            await self._hint(owners.HINT)
        return True

    async def _give_back(self, share: Share) -> None:
        surplus = sorted(share.held)[share.size :]
        if not surplus:
            return
        await self._stop([each for each in surplus if each in self._pumps])
        await self._door.claims.release(surplus)
        for partition in surplus:
            share.held.remove(partition)
        log.info("partitions given back", count=len(surplus), share=share.size)
        await self._hint()

    async def _stop(self, partitions: list[int]) -> None:
        pumps = [self._pumps.pop(partition) for partition in partitions]
        await asyncio.gather(*(pump.stop(self._grace) for pump in pumps))

    def _check_connection(self) -> None:
        reconnects = self._door.connection().stats["reconnects"]
        if reconnects != self._reconnects:
            self._reconnects = reconnects
            log.info("bus came back, partitions are read anew", partitions=len(self._pumps))
            for pump in self._pumps.values():
                pump.reopen("the connection was lost")

    async def _hinted(self, _message: Msg) -> None:
        self._wake.set()

    async def _hint(self, what: str = HINT) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._door.connection().publish(self._door.subjects.hint(what))
