"""The door for commands: decides on them against the database as the command path does, at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from uuid import UUID

from handlers.store.batch import AgendaRow, Batch, EventRow
from handlers.wire.events import Meta, encoded
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Command, Context, Decision, World
from tenant_domain.operation import decide as operation_decide
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.events import OperationStarted
from tenant_domain.operation.state import Operation
from tenant_domain.refusals import Refusal
from tenant_domain.registry import COMMANDS
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.commands import (
    CancelTermination,
    PlaceLegalHold,
    ReleaseLegalHold,
    Resume,
    Suspend,
)
from tests.simulation.database import Database

_ASKED = Meta(actor="operator")


class Door:
    """Appends what follows from a command, and tells `heard` of it."""

    def __init__(self, database: Database, heard: Callable[[], None], ids: int) -> None:
        self._database, self._heard = database, heard
        self._ids = count(ids)

    def wish(self, name: str, tenant_id: UUID) -> None:
        """Ask for a command by its name; one for an operation is for the tenant's last one."""
        runs = self.runs(tenant_id)
        if not runs:
            return
        last = runs[-1].operation_id
        command: Command
        match name:
            case "retry_operation":
                command = RetryOperation(operation_id=last)
            case "cancel_operation":
                command = CancelOperation(operation_id=last)
            case "compensate_operation":
                command = CompensateOperation(operation_id=last)
            case "place_legal_hold":
                command = PlaceLegalHold(reason="a case")
            case "release_legal_hold":
                command = ReleaseLegalHold()
            case "cancel_termination":
                command = CancelTermination()
            case "suspend":
                command = Suspend(reason="unpaid")
            case _:
                command = Resume()
        self.ask(tenant_id, command)

    def ask(self, tenant_id: UUID, command: Command) -> None:
        """Decide on a command; a refusal is an answer, too. A database that is away refuses all."""
        database = self._database
        if database.holder is not None:
            database.waiting.append(lambda: self.ask(tenant_id, command))
            return
        if not database.up:
            return
        spec = COMMANDS[command.name_]
        tenant = database.states.get(tenant_id)
        refs = (
            tenant_decide.ref(tenant_id),
            *spec.streams(tenant_id, command, None if tenant is None else tenant.state),
        )
        loaded = database.load(ref.stream for ref in refs)
        world = World({stream: each.state for stream, each in loaded.items()})
        context = Context(tenant_id, database.now(), UUID(int=next(self._ids)), "operator", Policy())
        try:
            decision = spec.decide(command, world, context)
        except Refusal:
            return
        self._append(tenant_id, decision)

    def begin(self, tenant_id: UUID, kind: str, steps: tuple[str, ...]) -> None:
        """Begin a run that no command asks for."""
        run = UUID(int=next(self._ids))
        started = operation_decide.start(run, tenant_id, kind, steps, {}, self._database.now())
        self._append(tenant_id, Decision((started,), run))

    def runs(self, tenant_id: UUID) -> list[Operation]:
        """Return all runs of a tenant, in the order of their beginnings."""
        states = (loaded.state for loaded in self._database.states.values())
        return [each for each in states if isinstance(each, Operation) and each.tenant_id == tenant_id]

    def _append(self, tenant_id: UUID, decision: Decision) -> None:
        database, batch = self._database, Batch()
        streams = {ref.stream for ref, _ in decision.events}
        known = database.load(streams)
        versions = {stream: loaded.version for stream, loaded in known.items()}
        kinds = {stream: run.kind for stream, (run, _) in known.items() if isinstance(run, Operation)}
        for ref, event in decision.events:
            version = versions[ref.stream] = versions[ref.stream] + 1
            body = encoded(event, _ASKED)
            batch.events.append(EventRow(tenant_id, ref.stream, version, event.name, body, 0))
            if isinstance(event, OperationStarted):
                kinds[ref.stream] = event.kind
        batch.agenda = [
            AgendaRow(stream, tenant_id, kind, database.now(), None, 0) for stream, kind in kinds.items()
        ]
        database.append(batch)
        self._heard()
