"""One schedule: workers, a database and a world, and a plan of what happens to them; checked all the way."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from random import Random
from typing import NamedTuple
from uuid import UUID

from tenant_domain.operation.commands import RetryOperation
from tenant_domain.operation.state import Operation, OperationStatus
from tenant_domain.tenant.commands import ReleaseLegalHold
from tests.simulation.crew import Crew
from tests.simulation.database import Database, Recorded, Stored
from tests.simulation.door import Door
from tests.simulation.kinds import BEGINNINGS, KINDS, TENANTS
from tests.simulation.loop import Restless, Violation, VirtualLoop
from tests.simulation.plan import Plan
from tests.simulation.store import cut_all
from tests.simulation.watcher import Watcher
from tests.simulation.world import World

MOST_SECONDS, MOST_STEPS = 120.0, 30_000
"""No schedule is that long: who has not come to rest by then is stuck."""


class Past(NamedTuple):
    """What there is before a schedule: the database, and the `things` of the world."""

    database: Stored
    things: Mapping[tuple[UUID, str], str]


class Outcome(NamedTuple):
    """How a schedule went: what was violated, if anything; its steps; whether its whole plan happened.

    `course` differs from that of every schedule that went another way.
    """

    plan: Plan
    violation: str | None
    steps: int
    whole: bool
    course: int
    trace: list[str]


class Schedule:
    """Runs a plan, once; its tenants are numbered from `first` on."""

    def __init__(self, plan: Plan, *, first: int = 0, traced: bool = False) -> None:
        self.plan, self._first = plan, first
        self._loop = loop = VirtualLoop(Random(plan.seed))
        loop.trace = [] if traced else None
        loop.slow = plan.slow
        loop.idle = self._quiet
        self._watcher = Watcher()
        self.database = Database(loop, self._see)
        self.world = World(loop, self.database, dict(plan.failing))
        self._crew = Crew(loop, self.database, self.world, self._loses_answer)
        self._door = Door(self.database, self._crew.wake, ids=1)
        self._ambiguous = set(plan.ambiguous)
        self._writes = 0

    def run(self) -> Outcome:
        """Run the plan until all is quiet, and then with a person who helps; says what was violated."""
        before = self._begin()
        violation = None
        try:
            self._loop.run(MOST_STEPS)
            whole = not self._loop.moments
            self._watcher.check_rest(self.database, self.world, before)
            self._help(before)
        except Restless:
            violation, whole = f"it never comes to rest: {self._restless()}", True
        except Violation as found:
            violation, whole = str(found), True
        finally:
            self._loop.close()
            self._crew.leave()
        return Outcome(
            self.plan, violation, self._loop.steps, whole, self._loop.course, self._loop.trace or []
        )

    def _begin(self) -> Mapping[tuple[UUID, str], str]:
        before: dict[tuple[UUID, str], str] = {}
        for number, beginning in enumerate(self.plan.runs, self._first):
            past = begun(beginning, number)
            self.database.take_over(past.database)
            before |= past.things
        self.world.things = dict(before)
        for _ in range(self.plan.workers):
            self._crew.begin()
        self._plan_moments()
        return before

    def _plan_moments(self) -> None:
        plan, crew, door = self.plan, self._crew, self._door
        moments = [
            *((at, crew.die) for at in plan.crashes),
            *((at, crew.stop) for at in plan.restarts),
            *((pause.at, partial(crew.sleep, pause.seconds)) for pause in plan.pauses),
            *((outage.at, partial(self._go_away, outage.seconds)) for outage in plan.outages),
            *((wish.at, partial(door.wish, wish.command, TENANTS[wish.tenant])) for wish in plan.wishes),
        ]
        self._loop.moments = sorted(moments, key=lambda moment: -moment[0])

    def _help(self, before: Mapping[tuple[UUID, str], str]) -> None:
        """Let a person go on with what is parked, in a world that works: then everything ends."""
        self.world.failing.clear()
        self._ambiguous.clear()
        self._loop.moments = []
        for _ in range(3):
            parked = [run for run in self._runs() if run.status is OperationStatus.PARKED]
            if not parked:
                break
            for run in parked:
                self._door.ask(run.tenant_id, ReleaseLegalHold())
                self._door.ask(run.tenant_id, RetryOperation(operation_id=run.operation_id))
            self._loop.run(MOST_STEPS)
            self._watcher.check_rest(self.database, self.world, before)
        for run in self._runs():
            if not run.finished:
                raise Violation(f"a {run.kind} does not end although somebody helps")

    def _runs(self) -> list[Operation]:
        states = (loaded.state for loaded in self.database.states.values())
        return [state for state in states if isinstance(state, Operation)]

    def _see(self, recorded: Recorded) -> None:
        tenant = self.database.states.get(recorded.tenant_id)
        self._watcher.see(recorded, None if tenant is None else tenant.state)

    def _go_away(self, seconds: float) -> None:
        if self.database.up:
            self._loop.note("sees the database go away for", seconds, "s")
            cut_all(self._loop)
            self.database.crash()
            self._loop.at(self._loop.now + seconds, self._come_back)

    def _come_back(self) -> None:
        self._loop.note("sees the database come back")
        self.database.up = True

    def _loses_answer(self) -> bool:
        self._writes += 1
        return self._writes in self._ambiguous

    def _quiet(self) -> bool:
        if self._loop.now > MOST_SECONDS:
            raise Restless
        if self._crew.busy or not self.database.up:
            return False
        agenda = self.database.agenda
        return all(self._waits_for_a_person(run, row.tenant_id) for run, row in agenda.items())

    def _restless(self) -> str:
        """Say what keeps it from coming to rest."""
        for operation, row in self.database.agenda.items():
            run = self.database.states[operation].state
            if run.finished or run.status is OperationStatus.PARKED:
                return f"a {row.kind} that is {run.status.value} stays on the agenda"
            if row.owner is None and row.due_at <= self.database.now():
                return f"a {row.kind} is due, and nobody takes it"
            if row.owner is not None and self.database.promised[row.owner] <= self._loop.now:
                return f"a {row.kind} is held by a worker that is gone"
            if row.owner is not None and not self._crew.busy:
                return f"a {row.kind} is held, and nobody works on it"
        return "somebody works on and on"

    def _waits_for_a_person(self, run: UUID, tenant_id: UUID) -> bool:
        """Return whether a run that waits for its tenant will have to wait: who holds it is parked."""
        tenant = self.database.states[tenant_id].state
        holder = self.database.states.get(tenant.operation_id)
        return (
            tenant.operation_id != run
            and holder is not None
            and holder.state.status is OperationStatus.PARKED
        )


@cache
def past_of(beginning: str | None, number: int) -> Past:
    """Return what a run leaves that went well, for the tenant of the number."""
    if beginning is None:
        return Past(Stored(), {})
    schedule = Schedule(Plan(0, (beginning,)), first=number)
    outcome = schedule.run()
    assert outcome.violation is None, outcome.violation
    return Past(schedule.database.stored._replace(log=()), schedule.world.things)


@cache
def begun(beginning: str, number: int) -> Past:
    """Return what a run finds that has just been asked for, for the tenant of the number."""
    kind, after, command = BEGINNINGS[beginning]
    past, tenant_id = past_of(after, number), TENANTS[number]
    database = Database(VirtualLoop(Random(0)), lambda _: None)
    database.take_over(past.database)
    run = 0x100 * (1 + number + len(TENANTS) * list(BEGINNINGS).index(beginning))
    door = Door(database, lambda: None, run)
    if command is not None:
        door.ask(tenant_id, command(number))
    else:
        door.begin(tenant_id, kind, tuple(step.name for step in KINDS[kind].steps))
    return past._replace(database=database.stored)
