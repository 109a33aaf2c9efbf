"""Given / when / then for the domain, so that a test reads as a sentence.

    given(A_TENANT_IN_SERVICE).when(Suspend(reason="unpaid")).then(Suspended(…), OperationStarted(…))
    given().when(Suspend(reason="unpaid")).then_refused(TenantNotFound)

A command sees exactly the streams that it declares in the registry: one that it forgot is a KeyError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tenant_domain.authorisation import Authority
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Command, Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.operation import decide as operation
from tenant_domain.operation.events import OperationStarted
from tenant_domain.refusals import Refusal
from tenant_domain.registry import COMMANDS, ENTITIES
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OTHER_TENANT = UUID("01938f5e-7c00-7000-8000-000000000002")
NEXT_OPERATION = UUID("01938f5e-7c00-7000-8000-0000000000a2")


@dataclass
class Facts:
    """A log in memory: every stream's facts and its state, folded one by one as they came."""

    log: list[NewEvent] = field(default_factory=list[NewEvent])
    states: dict[UUID, Any] = field(default_factory=dict[UUID, Any])

    def append(self, events: Iterable[NewEvent]) -> None:
        """Write `events` at the end of the log."""
        for new in events:
            before = self.states.get(new.ref.stream)
            self.states[new.ref.stream] = ENTITIES[new.ref.entity].evolve(before, new.event)
            self.log.append(new)

    def version(self, stream: UUID) -> int:
        """Return how many facts `stream` has."""
        return sum(new.ref.stream == stream for new in self.log)

    def decide(
        self,
        tenant_id: UUID,
        command: Command,
        operation_id: UUID,
        now: datetime,
        policy: Policy,
        authority: Authority = Authority.SERVICE,
    ) -> Decision:
        """Decide `command` on the streams it declares, and write nothing."""
        spec = COMMANDS[command.name_]
        tenant = self.states.get(tenant_id)
        refs = [Ref("tenant", tenant_id), *spec.streams(tenant_id, command, tenant)]
        world = World({ref.stream: self.states.get(ref.stream) for ref in refs})
        return spec.decide(command, world, Context(tenant_id, now, operation_id, None, policy, authority))


def of(tenant_id: UUID, *events: Event) -> list[NewEvent]:
    """Return `events` as facts about `tenant_id`, each in the stream that it belongs to."""
    facts: list[NewEvent] = []
    run = OPERATION
    for event in events:
        if isinstance(event, OperationStarted):
            run = UUID(event.operation_id)
        facts.append(NewEvent(_ref(tenant_id, run, event), event))
    return facts


def _ref(tenant_id: UUID, run: UUID, event: Event) -> Ref:
    entity = event.name.partition(".")[0]
    if isinstance(event, SubdomainClaimed | SubdomainReleased):
        return subdomain.ref(event.subdomain)
    return operation.ref(run) if entity == "operation" else Ref(entity, tenant_id)


class Then:
    """What followed from a command."""

    def __init__(self, facts: Facts, tenant_id: UUID, outcome: Decision | Refusal) -> None:
        self._facts = facts
        self._tenant_id = tenant_id
        self._outcome = outcome

    @property
    def decision(self) -> Decision:
        """The decision, of a command that was not refused."""
        assert isinstance(self._outcome, Decision), f"refused: {self._outcome!r}"
        return self._outcome

    @property
    def refusal(self) -> Refusal:
        """The refusal, of a command that was refused."""
        assert isinstance(self._outcome, Refusal), f"not refused: {self._outcome!r}"
        return self._outcome

    def then(self, *expected: Event, operation_id: UUID | None = None) -> Facts:
        """Exactly these facts follow, and the caller is told this operation; returns the log with them."""
        decision = self.decision
        assert [new.event for new in decision.events] == list(expected)
        assert list(decision.events) == of(self._tenant_id, *expected)
        assert decision.operation_id == operation_id
        self._facts.append(decision.events)
        return self._facts

    def then_nothing(self, operation_id: UUID | None = None) -> None:
        """The command is done and changes nothing, and says so."""
        self.then(operation_id=operation_id)
        assert self.decision.result == {"changed": False}

    def then_refused(self, kind: type[Refusal], **extra: object) -> None:
        """The command is refused in this way, and says so in a sentence, with these fields."""
        assert isinstance(self._outcome, Refusal), f"not refused: {self._outcome!r}"
        assert type(self._outcome) is kind, repr(self._outcome)
        assert self._outcome.detail.rstrip(".")
        assert dict(self._outcome.extra) == extra


class Given:
    """What has happened before."""

    def __init__(self, facts: Sequence[NewEvent]) -> None:
        self._facts = Facts()
        self._facts.append(facts)

    def when(
        self,
        command: Command,
        *,
        of_tenant: UUID = TENANT,
        operation_id: UUID = NEXT_OPERATION,
        policy: Policy | None = None,
        authority: Authority = Authority.SERVICE,
    ) -> Then:
        """Ask for `command` at NOW; `operation_id` is the id that a new operation would get."""
        try:
            outcome = self._facts.decide(of_tenant, command, operation_id, NOW, policy or Policy(), authority)
        except Refusal as refusal:
            return Then(self._facts, of_tenant, refusal)
        return Then(self._facts, of_tenant, outcome)

    def state(self, stream: UUID) -> Any:
        """Return what `stream` folds to."""
        return self._facts.states.get(stream)


def given(*facts: Event | Sequence[NewEvent]) -> Given:
    """Begin a sentence: events of TENANT, or facts that `of` returns for another tenant."""
    told: list[NewEvent] = []
    bare: list[Event] = []
    for fact in facts:
        if isinstance(fact, Event):
            bare.append(fact)
        else:
            told += fact
    return Given([*told, *of(TENANT, *bare)])
