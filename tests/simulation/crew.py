"""The workers of a simulation: real ones, each in a process that can die, stop, or sleep."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import NamedTuple
from uuid import UUID

from handlers.execution.versions import Outdated
from handlers.saga_runner.driver import Held, Owns, Parts
from handlers.saga_runner.lane import Lane
from handlers.saga_runner.news import News
from handlers.saga_runner.role import HEAVY, QUICK
from handlers.saga_runner.turns import Turns
from handlers.saga_runner.worker import Limits, Worker
from tenant_domain.catalogue import Policy
from tests.simulation.database import Database
from tests.simulation.kinds import KINDS
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.store import Link, SimulatedAgenda, SimulatedStore, requests_of
from tests.simulation.world import World

LIMITS = Limits(lease=1.0, poll=0.5, grace=0.5)
LOOK = 0.5
IDLE = 0.8
"""Seconds after which the database ends a transaction whose process has stopped in the middle of it."""
_POLICY = Policy()


class _Member(NamedTuple):
    process: Process
    worker: Worker


async def _never(_: Outdated) -> bool:
    return False


class Crew:
    """Workers that take over from each other: who dies or stops is followed by a new one."""

    def __init__(
        self,
        loop: VirtualLoop,
        database: Database,
        world: World,
        loses_answer: Callable[[], bool],
    ) -> None:
        self._loop, self._database, self._world = loop, database, world
        self._loses_answer = loses_answer
        self._members: list[_Member] = []
        self._numbers, self._ids = count(1), count(0xA000)
        self.asleep = 0

    @property
    def busy(self) -> bool:
        """Whether a run is at work, or a worker asleep."""
        return self.asleep > 0 or any(member.worker.running for member in self._members)

    def begin(self) -> None:
        """Start a worker."""
        loop = self._loop
        process = loop.process(f"worker {next(self._numbers)}")
        loop.note("starts", process.name)
        link = Link(loop, process, self._database, self._loses_answer)
        owners: list[UUID] = []

        def new_id() -> UUID:
            owners.append(UUID(int=next(self._ids)))
            return owners[-1]

        def holds() -> bool:
            return self._database.promised.get(owners[-1], 0.0) > loop.now

        async def tell(_head: int, _news: list[News]) -> None:
            self.wake(process)

        store = SimulatedStore(link)

        def parts(held: Held, owns: Owns) -> Parts:
            return Parts(
                store=store,
                quick=Lane(store, size=QUICK, tell=tell),
                heavy=Lane(store, size=HEAVY, tell=tell),
                effects=self._world.effects(link, holds),
                sagas=KINDS,
                policy=_POLICY,
                tell=tell,
                turns=Turns(LIMITS.steps),
                held=held,
                owns=owns,
                is_newer=_never,
                now=self._database.now,
                chance=loop.random.random,
                look=LOOK,
            )

        worker = Worker(SimulatedAgenda(link, LIMITS.lease), parts, LIMITS, new_id)
        self._members.append(_Member(process, worker))
        loop.within(process, loop.call_soon, worker.start)

    def wake(self, source: Process | None = None) -> None:
        """Hint at a commit to all workers but its source; hints may be lost."""
        for process, worker in self._members:
            if process is not source and self._loop.random.random() < 0.9:
                self._loop.within(process, self._loop.send, worker.wake)

    def die(self) -> None:
        """Kill the worker that is about to take a step, unless it has slept; a new one begins."""
        member = self._present()
        if member.process.slept:
            return
        self._loop.note("is killed")
        self._members.remove(member)
        self._loop.kill(member.process)
        for call, request in requests_of(self._loop, member.process):
            call.off = request.hurry()
        self._database.disconnect(member.process)
        self.begin()

    def stop(self) -> None:
        """Ask the worker that is about to take a step to end; a new one begins."""
        member = self._present()
        self._loop.note("is told to stop")
        self._loop.create_task(member.worker.stop())
        self.begin()

    def sleep(self, seconds: float) -> None:
        """Stop the process of the worker that is about to take a step, and let it go on later."""
        process = self._present().process
        self._loop.note("falls asleep for", seconds, "s")
        process.paused = process.slept = True
        self.asleep += 1
        self._loop.at(self._loop.now + IDLE, self._cut, process)
        self._loop.at(self._loop.now + seconds, self._wake_up, process)

    def leave(self) -> None:
        """Let go of all workers, at the end of a schedule."""
        self._members.clear()

    def _cut(self, process: Process) -> None:
        if process.paused:
            self._database.disconnect(process)

    def _wake_up(self, process: Process) -> None:
        self._loop.note("wakes up", process.name)
        process.paused, process.awake_for = False, 0
        self.asleep -= 1

    def _present(self) -> _Member:
        return next(member for member in self._members if member.process is self._loop.current)
