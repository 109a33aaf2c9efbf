"""Sagas: what a saga is, and the pure function from the state of a run to what comes next.

A step may have a part outside the database and a part inside it. The part outside is announced in the
journal before it acts, and looks before it repeats; the part inside is committed together with the step's
completion, so it happens exactly once. Undoing goes backwards over the steps in the order they were touched.

A run remembers its steps by name, never by place, so a definition may change while runs are in flight: a step
that is new is run where the definition has it, one that is gone is not run any more. A step that is taken out
and has something to undo stays among the `retired` until no run can have touched it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from tenant_domain.catalogue import Policy
from tenant_domain.decision import Event, NewEvent, Ref, World
from tenant_domain.operation.state import Operation, OperationStatus, StepStatus
from tenant_domain.registry import ENTITIES
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.state import Tenant


class RetryPolicy(NamedTuple):
    """How often a step is tried, and how long a try waits for the one before (seconds).

    The defaults give an outage outside about a minute; a provisioning may take two.
    """

    max_tries: int = 10
    first: float = 0.25
    factor: float = 2.0
    cap: float = 15.0
    jitter: float = 0.2

    @property
    def longest(self) -> timedelta:
        """The longest wait between two tries."""
        return timedelta(seconds=self.cap * (1 + self.jitter))

    def delay(self, tries: int, chance: float) -> timedelta:
        """Return the wait after `tries` failed tries; `chance` (0–1) spreads it by ± `jitter`."""
        plain = min(self.first * self.factor ** (tries - 1), self.cap)
        return timedelta(seconds=plain * (1 + self.jitter * (2 * chance - 1)))


class Deed(NamedTuple):
    """What a step does, and what undoes it: names in the table of effects."""

    do: str
    undo: str | None = None


class Scene(NamedTuple):
    """What a step may see: the run, its tenant, the other streams that the saga reads, the policy."""

    operation: Operation
    tenant: Tenant
    states: Mapping[UUID, Any]
    policy: Policy

    @property
    def world(self) -> World:
        """The states of all streams that the saga reads."""
        return World(self.states)

    def told(self, *facts: Event) -> tuple[NewEvent, ...]:
        """Return the facts as events of the tenant."""
        ref = tenant_decide.ref(self.operation.tenant_id)
        return tuple(NewEvent(ref, fact) for fact in facts)

    def after(self, events: Iterable[NewEvent]) -> Scene:
        """Return the scene after `events`."""
        states = dict(self.states)
        for ref, event in events:
            states[ref.stream] = ENTITIES[ref.entity].evolve(states[ref.stream], event)
        return self._replace(
            operation=states[self.operation.operation_id],
            tenant=states[self.operation.tenant_id],
            states=states,
        )


def no_facts(_: Scene) -> tuple[NewEvent, ...]:
    """Add nothing to the history of the tenant."""
    return ()


def at_once(_: Operation) -> datetime | None:
    """Wait for no time."""
    return None


def unhindered(_: Scene) -> bool:
    """Wait for nobody."""
    return False


def never_stopped(_: Scene) -> str | None:
    """Stop for nothing."""
    return None


def reads_nothing(_operation: Operation, _tenant: Tenant) -> tuple[Ref, ...]:
    """Read no streams besides the run's and the tenant's."""
    return ()


class Step(NamedTuple):
    """One step of a saga.

    `check` refuses (Refusal or ValueError) what cannot succeed; `outside` and `inside` are what the step
    does; `facts` are the events that its completion adds to the tenant's streams, and may tell of its output
    (which is empty where an effect is told beforehand what its step will add). `limit` bounds one attempt,
    `deadline` all attempts together, waits between them included (seconds). `heavy` steps change the
    database's catalogue; they commit apart from the quick ones. A `blind` step's part inside only writes: it
    looks at no answer of the database, so that many of them can be sent at once.

    A step does not begin before it is `due`, nor while it `waits` (another operation holds the tenant).
    `entry` gives the events that its beginning adds; called again after them, it gives none.
    """

    name: str
    check: Callable[[Scene], None] | None = None
    outside: Deed | None = None
    inside: Deed | None = None
    facts: Callable[[Scene], tuple[NewEvent, ...]] = no_facts
    retry: RetryPolicy = RetryPolicy()
    limit: float = 30.0
    deadline: float | None = None
    on_failure: Literal["compensate", "park"] = "compensate"
    heavy: bool = False
    blind: bool = False
    due: Callable[[Operation], datetime | None] = at_once
    waits: Callable[[Scene], bool] = unhindered
    entry: Callable[[Scene], tuple[NewEvent, ...]] = no_facts

    @property
    def reversible(self) -> bool:
        """Whether the step has anything to undo."""
        return any(deed is not None and deed.undo for deed in (self.outside, self.inside))


class Saga(NamedTuple):
    """A saga: its steps in order, the streams it reads besides the run's and the tenant's, its undone end.

    `stop` gives a reason for which no step may begin now; the run is parked with it. `deadline` bounds the
    seconds in which it is at work: beyond it no step begins, and the run turns back, or is parked where the
    next step says so. The times that its steps are `due` at do not count.
    """

    kind: str
    steps: tuple[Step, ...]
    undone: Callable[[Scene], tuple[NewEvent, ...]]
    reads: Callable[[Operation, Tenant], Iterable[Ref]] = reads_nothing
    retired: tuple[Step, ...] = ()
    stop: Callable[[Scene], str | None] = never_stopped
    deadline: float | None = None


def longest_wait(sagas: Mapping[str, Saga]) -> timedelta:
    """Return the longest wait between two tries of any step."""
    steps = [step for saga in sagas.values() for step in (*saga.retired, *saga.steps)]
    return max((step.retry.longest for step in steps), default=timedelta())


class Run(NamedTuple):
    """Do the step, not before `not_before`."""

    step: Step
    attempt: int
    not_before: datetime | None = None


class Undo(NamedTuple):
    """Undo the step, not before `not_before`."""

    step: Step
    attempt: int
    not_before: datetime | None = None


class Park(NamedTuple):
    """Leave the run to a person."""

    step: str
    reason: str


class Finish(NamedTuple):
    """End the run: all its steps are done, or all are undone."""


class Rest(NamedTuple):
    """Do nothing: the run has ended, or waits for a person."""


Action: TypeAlias = Run | Undo | Park | Finish | Rest


def next_action(saga: Saga, operation: Operation) -> Action:
    """Return what comes next in a run of `saga`."""
    if operation.finished or operation.status is OperationStatus.PARKED:
        return Rest()
    if operation.status is OperationStatus.COMPENSATING:
        return _next_undo(saga, operation)
    for step in saga.steps:
        known = operation.step(step.name)
        if known.status is not StepStatus.COMPLETED:
            return Run(step, known.attempts + 1, _later(known.retry_at, step.due(operation)))
    return Finish()


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one is not None and other is not None else one or other


def _next_undo(saga: Saga, operation: Operation) -> Action:
    steps = {step.name: step for step in (*saga.retired, *saga.steps)}
    for known in sorted(operation.steps, key=lambda step: step.order, reverse=True):
        if not known.touched:
            continue
        step = steps.get(known.name)
        if step is None:
            return Park(known.name, f"This version of the service cannot undo the step {known.name!r}.")
        if step.reversible:
            return Undo(step, known.tries + 1, known.retry_at)
    return Finish()
