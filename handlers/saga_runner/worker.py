"""A worker: takes what is due, drives it, renews its lease, and takes over from workers that died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import structlog

from handlers.adapters.beats import Beat, Beats
from handlers.adapters.tasks import end, watched
from handlers.execution.versions import Outdated
from handlers.saga_runner.agenda import Agenda, Due
from handlers.saga_runner.driver import Driver, Held, Owns, Parts
from handlers.saga_runner.lease import Lease
from handlers.saga_runner.run import RunState
from handlers.store.errors import is_outage
from sagas.definition import RetryPolicy, longest_wait

log = structlog.get_logger()

_TROUBLE = RetryPolicy(first=0.1, cap=2.0, jitter=0.5)
"""How long to wait for a database that is not there."""


_TIMED = 30.0
"""Seconds: a run that waits no longer wakes the worker on time, the others are found when it looks."""

_HASTEN = 10.0
"""Seconds between two looks at runs whose next try is further away than any may be."""

_ASIDE = timedelta(seconds=2)
"""How long a run rests that was left to a newer version, so that it is not taken in a circle."""

_CROWD = 8
"""How many times `concurrency` a worker may hold, with the runs that wait for their turn at a step."""


class Limits(NamedTuple):
    """Limits of a worker; times in seconds.

    `concurrency` bounds the runs at work, and so memory. `lease` is how long a dead worker's runs wait; it is
    renewed three times in it, at least each second. `poll` is how often it looks without being woken, and how
    soon after a lease's end its runs are taken over. `breath` is the least time between two looks: hints come
    with every commit. `grace` is what stopping leaves to steps. `per_tenant` bounds the runs of one tenant at
    work, in all workers together. `steps` bounds the runs at a step of that name, in this worker: whatever of
    it is scarce, connections for one. Those that wait for their turn there do not count as at work.
    """

    concurrency: int = 512
    lease: float = 3.0
    poll: float = 0.4
    breath: float = 0.005
    grace: float = 2.0
    per_tenant: int = 8
    steps: Mapping[str, int] = {}


class Worker:
    """Runs until it is stopped, database or not. `parts` is given what the worker's own lease says."""

    def __init__(
        self,
        agenda: Agenda,
        parts: Callable[[Held, Owns], Parts],
        limits: Limits,
        new_id: Callable[[], UUID],
        beat: Beat | None = None,
    ) -> None:
        self._beat = beat or Beats().engine("saga worker")
        self._agenda, self._limits = agenda, limits
        self._lease = Lease(agenda, timedelta(seconds=limits.lease), new_id)
        self._parts = parts(self._lease.held, self._lease.owns)
        self._stopping = False
        self._driver = self._new_driver()
        self._runs: dict[asyncio.Task[None], UUID] = {}
        self._lanes: list[asyncio.Task[None]] = []
        self._engine: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()

    @property
    def running(self) -> int:
        """How many runs are at work."""
        return len(self._runs)

    def start(self) -> None:
        """Begin to work; does not wait for the database."""
        lanes = {"quick lane of sagas": self._parts.quick, "heavy lane of sagas": self._parts.heavy}
        self._lanes = [watched(lane.run(), name) for name, lane in lanes.items()]
        self._engine = watched(self._work(), "saga worker")

    def wake(self) -> None:
        """Look at the agenda now: something may be due."""
        self._awake.set()

    async def stop(self) -> None:
        """Leave runs at their next step, give them back, and end."""
        self._stopping = True
        if self._engine is not None:
            await _cancelled([self._engine])
        if self._runs:
            await asyncio.wait(self._runs, timeout=self._limits.grace)
        await _cancelled(self._runs)
        await _cancelled(self._lanes)
        try:
            await self._agenda.leave(self._lease.owner)
        except Exception as error:  # noqa: BLE001 - the others wait for its end
            log.warning("saga lease not given back", error=type(error).__name__)
        await self._agenda.close()

    async def _work(self) -> None:
        tries = 0
        while True:
            try:
                await self._lease.begin()
            except Exception as error:  # noqa: BLE001 - looked at there
                tries += 1
                await self._trouble(tries, error)
                continue
            tries = 0
            self._driver = self._new_driver()
            taking = watched(self._take(), "taking of due runs")
            try:
                await self._renew()
            finally:
                await end(taking)
            log.warning("saga lease lost", owner=str(self._lease.owner), runs=len(self._runs))
            for run in self._runs:  # they end by themselves: what came late they may have to take back
                run.cancel()

    def _new_driver(self) -> Driver:
        return Driver(self._parts, self._lease.owner, lambda: self._stopping)

    async def _renew(self) -> None:
        """Renew the lease until it is lost."""
        interval = min(1.0, self._limits.lease / 3)
        tries = 0
        while True:
            await asyncio.sleep(interval)
            try:
                if not await self._lease.renew():
                    return
                tries = 0
            except Exception as error:  # noqa: BLE001 - looked at there
                tries += 1
                await self._trouble(tries, error)

    async def _take(self) -> None:
        """Take what is due, and what belonged to the dead, for ever."""
        loop = asyncio.get_running_loop()
        tries, looked, hastened = 0, 0.0, 0.0
        while True:
            try:
                if loop.time() - hastened >= _HASTEN:
                    hastened = loop.time()
                    now = self._parts.now()
                    await self._agenda.hasten(now, now + longest_wait(self._parts.sagas))
                if loop.time() - looked >= self._limits.poll:
                    looked = loop.time()
                    await self._agenda.free(self._lease.owner, self._runs.values())
                if (room := self._room()) > 0:
                    due = await self._agenda.take(
                        self._lease.owner, self._parts.now(), room, self._limits.per_tenant
                    )
                    await self._begin(due)
                    if len(due) == room:  # more may wait
                        self.wake()
                tries = 0
                self._beat.well()
            except Exception as error:  # noqa: BLE001 - looked at there
                tries += 1
                await self._trouble(tries, error)
            await self._wait_until_awake()

    async def _begin(self, dues: list[Due]) -> None:
        if not dues:
            return
        try:
            known = await self._driver.load(dues)
        except Exception as error:  # noqa: BLE001 - one of them: each finds out for itself
            log.warning("runs could not be read at once", error=type(error).__name__, runs=len(dues))
            known: dict[UUID, RunState] = {}
        for due in dues:
            task = watched(self._drive(due, known.get(due.operation_id)), f"run {due.operation_id}")
            self._runs[task] = due.operation_id
            task.add_done_callback(self._ended)

    async def _drive(self, due: Due, run: RunState | None) -> None:
        try:
            waits_until = await self._driver.drive(due, run)
        except Outdated as newer:
            await self._put_off(due, newer)
            return
        if waits_until is not None:
            delay = max(0.0, (waits_until - self._parts.now()).total_seconds())
            if delay < _TIMED:
                asyncio.get_running_loop().call_later(delay, self.wake)

    async def _put_off(self, due: Due, newer: Outdated) -> None:
        """Give a run back that a newer worker knows; this one may meet it again, if that is slow."""
        log.info("run left to a newer version", operation_id=str(due.operation_id), why=str(newer))
        try:
            await self._agenda.put_off(self._lease.owner, due.operation_id, self._parts.now() + _ASIDE)
        except Exception as error:  # noqa: BLE001 - looked at there; `free` gives it back else
            await self._trouble(1, error)

    def _room(self) -> int:
        """Return how many more runs may be taken."""
        most = self._limits.concurrency
        return min(most - len(self._runs) + self._parts.turns.waiting, _CROWD * most - len(self._runs))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._room() <= 0:
            self.wake()
        self._runs.pop(task, None)

    async def _wait_until_awake(self) -> None:
        await asyncio.sleep(self._limits.breath)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.poll):
                await self._awake.wait()
        self._awake.clear()

    async def _trouble(self, tries: int, error: Exception) -> None:
        """Pause after what a server said; a defect of our own is raised again."""
        if not is_outage(error):
            raise error
        log.warning("saga agenda not available", error=type(error).__name__)
        await asyncio.sleep(_TROUBLE.delay(tries, self._parts.chance()).total_seconds())


async def _cancelled(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they are over."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
