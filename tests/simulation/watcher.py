"""What must hold: of every event as it is committed, and of everything once all is quiet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from tenant_domain.operation.events import CompensationStarted, StepCompensated, StepCompleted, StepStarted
from tenant_domain.operation.state import Operation, OperationStatus, StepStatus
from tenant_domain.tenant.events import PurgeStarted
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Status
from tests.simulation.database import Database, Recorded
from tests.simulation.kinds import KINDS, PARTS, Part
from tests.simulation.loop import Violation
from tests.simulation.world import World


class Watcher:
    """Sees each event before it is written, and everything at the end. Raises Violation."""

    def __init__(self) -> None:
        self._ends: Counter[tuple[UUID, str, type]] = Counter()
        """How often each step of a run was completed, and how often undone."""

    def see(self, recorded: Recorded, tenant: Tenant | None) -> None:
        """Check an event against the states before it."""
        event, run = recorded.event, recorded.before
        if isinstance(event, PurgeStarted) and tenant is not None and tenant.legal_hold is not None:
            raise Violation("a tenant is destroyed under a legal hold")
        if not isinstance(run, Operation):
            return
        if run.finished:
            raise Violation(f"{event.name} comes after the end of its run")
        match event:
            case StepStarted() | StepCompleted():
                self._check_forward(run, event.step, recorded.at)
            case StepCompensated():
                self._check_backward(run, event.step, recorded.at)
            case CompensationStarted() if tenant and tenant.status is Status.PURGING:
                raise Violation("a run turns back from where there is no way back")
            case _:
                pass
        if isinstance(event, StepCompleted | StepCompensated):
            self._ends[run.operation_id, event.step, type(event)] += 1

    def check_rest(self, database: Database, world: World, before: Mapping[tuple[UUID, str], str]) -> None:
        """Check everything when nobody has anything to do."""
        runs = [loaded.state for loaded in database.states.values() if isinstance(loaded.state, Operation)]
        for run in runs:
            if run.operation_id not in database.agenda:
                _check_end(run)
            elif run.finished or run.status is OperationStatus.PARKED:
                raise Violation(f"a {run.kind} that is {run.status.value} is still on the agenda")
            self._check_counts(run, world)
        for loaded in database.states.values():
            _check_holder(loaded.state, database)
        for tenant_id in {run.tenant_id for run in runs}:
            own = [run for run in runs if run.tenant_id == tenant_id]
            self._check_things(tenant_id, own, world, before)

    def _check_forward(self, run: Operation, name: str, now: datetime) -> None:
        if run.status is not OperationStatus.RUNNING:
            raise Violation(f"the step {name} goes on in a run that is {run.status.value}")
        known = run.step(name)
        if known.status is StepStatus.COMPLETED:
            raise Violation(f"the step {name} is done a second time")
        steps = KINDS[run.kind].steps
        place = next(place for place, step in enumerate(steps) if step.name == name)
        for former in steps[:place]:
            if run.step(former.name).status is not StepStatus.COMPLETED:
                raise Violation(f"the step {name} is done before the step {former.name}")
        if any(time is not None and time > now for time in (steps[place].due(run), known.retry_at)):
            raise Violation(f"the step {name} is done before its time")

    def _check_backward(self, run: Operation, name: str, now: datetime) -> None:
        known = run.step(name)
        if run.status is not OperationStatus.COMPENSATING:
            raise Violation(f"the step {name} is undone in a run that is {run.status.value}")
        if not known.touched:
            raise Violation(f"the step {name} is undone, and there is nothing to undo")
        if known.retry_at is not None and known.retry_at > now:
            raise Violation(f"the step {name} is undone before its time")
        saga = KINDS[run.kind]
        reversible = {step.name for step in (*saga.retired, *saga.steps) if step.reversible}
        for other in run.steps:
            if other.touched and other.order > known.order and other.name in reversible:
                raise Violation(f"the step {name} is undone before the step {other.name}")

    def _check_counts(self, run: Operation, world: World) -> None:
        for part in PARTS[run.kind]:
            if not part.inside:
                continue
            for name, end in ((part.deed.do, StepCompleted), (part.deed.undo, StepCompensated)):
                if name is None:
                    continue
                times, recorded = (
                    world.inside[run.operation_id, part.step, name],
                    self._ends[run.operation_id, part.step, end],
                )
                if times != recorded:
                    raise Violation(f"{name} was committed {times} times, and recorded {recorded} times")

    def _check_things(
        self, tenant_id: UUID, runs: list[Operation], world: World, before: Mapping[tuple[UUID, str], str]
    ) -> None:
        expected = dict(before)
        doubtful: set[str] = set()
        parts: list[Part] = []
        for run in runs:
            own = PARTS[run.kind]
            if run.status is OperationStatus.SUCCEEDED:
                expected |= {(tenant_id, part.thing): part.deed.do for part in own}
                parts += own
            elif run.finished:
                parts += [part for part in own if part.deed.undo]
            else:
                doubtful |= {part.thing for part in own}
        for part in parts:
            key = (tenant_id, part.thing)
            should, found = (things.get(key, part.deed.undo) for things in (expected, world.things))
            if part.thing not in doubtful and should != found:
                raise Violation(f"what was left last is {found}, and should be {should}")


def _check_end(run: Operation) -> None:
    if run.finished:
        return
    if run.status is not OperationStatus.PARKED or not run.parked_reason:
        raise Violation(f"a {run.kind} that is {run.status.value} is forgotten")
    if run.parked_reason.startswith("The service could not go on"):
        raise Violation(f"a {run.kind} is parked for no reason in the plan: {run.parked_reason}")


def _check_holder(state: object, database: Database) -> None:
    if isinstance(state, Tenant) and state.operation_id is not None:
        holder = database.states[state.operation_id].state
        if not isinstance(holder, Operation) or holder.finished:
            raise Violation("a tenant is held by a run that has ended")
