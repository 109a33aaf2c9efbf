"""A run of a saga without a world: the log in memory, effects that only leave a mark, failures on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID, uuid4

from sagas.definition import Action, Deed, Rest, Run, Saga, Scene, Step, Undo, next_action
from sagas.journal import Failure, Moved, advance, compensated, completed, failed, go_on
from sagas.registry import SAGAS
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Command, Event
from tenant_domain.operation.state import Operation
from tenant_domain.tenant.commands import Admin, Provision, Resume, Suspend, Terminate, Upgrade
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Json
from tests.support.gwt import NOW, Facts

WISH = Provision(
    name="Acme Analytics",
    subdomain="acme",
    plan="professional",
    admin=Admin(email="ada@acme.example", name="Ada Lovelace", user_id="ada"),
)
SUSPENSION, RESUMPTION = ("suspension", Suspend(reason="unpaid")), ("resumption", Resume())
BEFORE: Mapping[str, tuple[tuple[str, Command], ...]] = {
    "provisioning": (),
    "suspension": (SUSPENSION,),
    "resumption": (SUSPENSION, RESUMPTION),
    "upgrade": (("upgrade", Upgrade(plan="enterprise")),),
    "termination": (("termination", Terminate(confirm_subdomain="acme")),),
}
"""What follows on a provisioning, up to a run of the kind."""

CERTIFIED: Mapping[str, Json] = {"certificate_id": str(uuid4()), "certificate_sha256": "0" * 64}
OUTPUTS: Mapping[str, Mapping[str, Json]] = {"delete_securely": CERTIFIED}
"""What effects return in every rehearsal."""


class Ending(Enum):
    """How an attempt ends."""

    WELL = auto()
    FAILS_BEFORE = auto()
    FAILS_AFTER = auto()
    FAILS_FOR_GOOD = auto()
    CRASHES_BEFORE = auto()
    CRASHES_AFTER = auto()
    CRASHES_UNRECORDED = auto()


@dataclass
class Rehearsal:
    """One tenant, one run at a time. `outputs` are what effects return, where it is not nothing."""

    saga: Saga
    facts: Facts = field(default_factory=Facts)
    tenant_id: UUID = field(default_factory=uuid4)
    operation_id: UUID = field(default_factory=uuid4)
    now: datetime = NOW
    present: set[str] = field(default_factory=set[str])
    deeds: list[str] = field(default_factory=list[str])
    outputs: dict[str, dict[str, Json]] = field(default_factory=dict[str, dict[str, Json]])

    @classmethod
    def of(cls, kind: str) -> Rehearsal:
        """Begin a run of the kind, after whatever has to be before it."""
        rehearsal = cls(SAGAS["provisioning"])
        rehearsal.ask(WISH)
        for other, command in BEFORE[kind]:
            rehearsal.to_the_end()
            rehearsal.go_on_with(other, command)
        return rehearsal

    def go_on_with(self, kind: str, command: Command) -> None:
        """Ask for the next run."""
        self.saga, self.operation_id = SAGAS[kind], uuid4()
        self.ask(command)

    def ask(self, command: Command) -> None:
        """Decide on a command, and append what follows."""
        decision = self.facts.decide(self.tenant_id, command, self.operation_id, self.now, Policy())
        self.facts.append(decision.events)

    @property
    def operation(self) -> Operation:
        state = self.facts.states[self.operation_id]
        assert isinstance(state, Operation)
        return state

    @property
    def tenant(self) -> Tenant:
        state = self.facts.states[self.tenant_id]
        assert isinstance(state, Tenant)
        return state

    @property
    def journal(self) -> list[Event]:
        """The events of the run."""
        return [event for ref, event in self.facts.log if ref.stream == self.operation_id]

    @property
    def rests(self) -> bool:
        return isinstance(next_action(self.saga, self.operation), Rest)

    def scene(self) -> Scene:
        refs = self.saga.reads(self.operation, self.tenant)
        streams = {self.operation_id, self.tenant_id, *(ref.stream for ref in refs)}
        states = {stream: self.facts.states.get(stream) for stream in streams}
        return Scene(self.operation, self.tenant, states, Policy())

    def step(self, ending: Ending = Ending.WELL) -> None:
        """Take the run up from the log, and attempt what comes next."""
        moved = advance(self.saga, self.scene(), self.now)
        self._append(moved)
        action = moved.action
        if isinstance(action, Run | Undo):
            if moved.waits_until is not None:
                self.now = moved.waits_until
                return
            self._attempt(action, ending)

    def to_the_end(self) -> None:
        """Go on until the run rests."""
        for _ in range(100):
            if self.rests:
                return
            self.step()
        raise AssertionError(f"the run never rests: {self.operation}")

    def _attempt(self, action: Run | Undo, ending: Ending) -> None:
        started, self.now = self.now, self.now + timedelta(milliseconds=5)
        if ending is Ending.CRASHES_BEFORE:
            return
        if ending in (Ending.FAILS_BEFORE, Ending.FAILS_FOR_GOOD):
            self._fail(action, started, permanent=ending is Ending.FAILS_FOR_GOOD)
            return
        self._do(action, action.step.outside)
        if ending is Ending.FAILS_AFTER:
            self._fail(action, started, permanent=False)
            return
        if ending is Ending.CRASHES_AFTER:
            return
        if ending is Ending.CRASHES_UNRECORDED:  # the transaction of the part inside is lost with its events
            return
        self._do(action, action.step.inside)
        self._append(self._recorded(action, started))

    def _recorded(self, action: Run | Undo, started: datetime) -> Moved:
        scene = self.scene()
        if isinstance(action, Run):
            output = self._output(action.step)
            events = completed(scene, action, started, self.now, output)
        else:
            events = compensated(scene, action, self.now)
        return go_on(self.saga, scene, events, self.now)

    def _output(self, step: Step) -> Mapping[str, Json]:
        """Return what the effects of a step return, where it is not nothing."""
        output: dict[str, Json] = {}
        for deed in (step.outside, step.inside):
            if deed is not None:
                output |= {**OUTPUTS.get(deed.do, {}), **self.outputs.get(deed.do, {})}
        return output

    def _fail(self, action: Run | Undo, started: datetime, *, permanent: bool) -> None:
        failure = Failure("The world was against it.", permanent)
        scene = self.scene()
        events = failed(scene, action, failure, started, self.now, chance=0.5)
        self._append(go_on(self.saga, scene, events, self.now))

    def _do(self, action: Run | Undo, deed: Deed | None) -> None:
        if deed is None:
            return
        if isinstance(action, Run):
            self.present.add(deed.do)
            self.deeds.append(deed.do)
        elif deed.undo is not None:
            self.present.discard(deed.do)
            self.deeds.append(deed.undo)

    def _append(self, moved: Moved) -> None:
        self.facts.append(moved.events)


def told(action: Action) -> str:
    """Return an action in a word or two."""
    match action:
        case Run(step) | Undo(step):
            return f"{type(action).__name__.lower()} {step.name}"
        case _:
            return type(action).__name__.lower()
