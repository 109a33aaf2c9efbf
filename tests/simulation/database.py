"""The database of a simulation: the log with `service.append`, the agenda with its leases, transactions.

All of it happens at the moment that a request arrives. It goes away and comes back, and loses answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from handlers.saga_runner.agenda import Due
from handlers.store.batch import AgendaRow, Appended, Batch
from handlers.store.snapshots import EMPTY, Loaded
from handlers.wire.events import event_of
from tenant_domain.decision import Event
from tenant_domain.registry import ENTITIES
from tests.simulation.loop import Violation, VirtualLoop

BEGINNING = datetime(2026, 11, 26, tzinfo=UTC)


class Row(NamedTuple):
    """A run on the agenda."""

    tenant_id: UUID
    kind: str
    due_at: datetime
    owner: UUID | None = None


class Recorded(NamedTuple):
    """An event of the log, decoded, and the state of its stream before it."""

    position: int
    tenant_id: UUID
    stream: UUID
    event: Event
    before: Any
    at: datetime


class Stored(NamedTuple):
    """What a database holds: the state and the first body of each stream, the agenda, the log."""

    states: Mapping[UUID, Loaded] = {}
    first: Mapping[UUID, bytes] = {}
    agenda: Mapping[UUID, Row] = {}
    log: Sequence[Recorded] = ()


class Connection:
    """A connection in a transaction. `changes` happen outside the log when it commits."""

    def __init__(self, process: object) -> None:
        self.process = process
        self.closed = False
        self.changes: list[Callable[[], None]] = []
        self.batch: Batch | None = None

    def pipeline(self) -> AbstractAsyncContextManager[None]:
        """Pipe statements: here each is answered all the same."""
        return nullcontext()


class Database:
    """Everything that outlives a process. `watch` sees each event as it is committed."""

    def __init__(self, loop: VirtualLoop, watch: Callable[[Recorded], None]) -> None:
        self._loop, self._watch = loop, watch
        self.up = True
        self.log: list[Recorded] = []
        self.first: dict[UUID, bytes] = {}
        """The body of each stream's first event."""
        self.states: dict[UUID, Loaded] = {}
        self.agenda: dict[UUID, Row] = {}
        self.workers: dict[UUID, float] = {}
        """Until when each lease holds."""
        self.promised: dict[UUID, float] = {}
        """The same, as the workers were told: a crash may forget a lease, and then nobody knows but they."""
        self.holder: Connection | None = None
        """The transaction that has the log's head: all other writers wait for its end."""
        self.waiting: list[Callable[[], None]] = []
        """Writers that wait for it."""
        self._open: list[Connection] = []
        self._synced = (self.agenda.copy(), self.workers.copy())

    def now(self) -> datetime:
        """Return the time."""
        return BEGINNING + timedelta(seconds=self._loop.now)

    @property
    def stored(self) -> Stored:
        """What it holds now."""
        return Stored(self.states, self.first, self.agenda, self.log)

    def take_over(self, stored: Stored) -> None:
        """Hold also what another database, of other tenants, holds."""
        self.states |= stored.states
        self.first |= stored.first
        self.agenda |= stored.agenda
        self.log += [each._replace(position=len(self.log) + 1 + n) for n, each in enumerate(stored.log)]
        self._synced = (self.agenda.copy(), {})

    def load(self, streams: Iterable[UUID]) -> dict[UUID, Loaded]:
        """Return the state of each stream."""
        return {stream: self.states.get(stream, EMPTY) for stream in streams}

    # service.append

    def append(self, batch: Batch) -> Appended:
        """Write what still fits."""
        dropped = self._dropped(batch)
        self._write(batch, dropped)
        return Appended(len(self.log), [], dropped, {})

    def _dropped(self, batch: Batch) -> frozenset[int]:
        expected: dict[UUID, tuple[int, int]] = {}
        reads = [(read.stream_id, read.version, read.group) for read in batch.reads]
        writes = [(event.stream_id, event.version - 1, event.group) for event in batch.events]
        for stream, version, group in (*reads, *writes):
            known = expected.setdefault(stream, (version, group))
            if known[1] != group:
                raise ValueError("a stream stands in different groups")
        return frozenset(
            group
            for stream, (version, group) in expected.items()
            if self.states.get(stream, EMPTY).version != version
        )

    def _write(self, batch: Batch, dropped: frozenset[int]) -> None:
        for row in batch.events:
            if row.group not in dropped:
                self._write_event(row.tenant_id, row.stream_id, row.version, row.topic, row.state)
        for row in {row.operation_id: row for row in batch.agenda}.values():
            if row.group not in dropped:
                self._write_agenda(row)
        self._synced = (self.agenda.copy(), self.workers.copy())

    def _write_event(self, tenant_id: UUID, stream: UUID, version: int, topic: str, body: bytes) -> None:
        state, last = self.states.get(stream, EMPTY)
        if version != last + 1:
            raise Violation(f"{topic} has version {version} after {last}")
        event = event_of(topic, body)
        recorded = Recorded(len(self.log) + 1, tenant_id, stream, event, state, self.now())
        self._loop.note("commits", event)
        self._loop.took_course(topic)
        self._watch(recorded)
        self.log.append(recorded)
        self.first.setdefault(stream, body)
        self.states[stream] = Loaded(ENTITIES[topic.partition(".")[0]].evolve(state, event), version)

    def _write_agenda(self, row: AgendaRow) -> None:
        if row.due_at is None:
            self.agenda.pop(row.operation_id, None)
            return
        known = self.agenda.get(row.operation_id)
        if known is None:
            self.agenda[row.operation_id] = Row(row.tenant_id, row.kind, row.due_at)
        else:
            owner = None if known.owner == row.owner else known.owner
            self.agenda[row.operation_id] = known._replace(due_at=row.due_at, owner=owner)

    # transactions

    def begin(self, connection: Connection) -> None:
        """Begin a transaction."""
        self._open.append(connection)

    def stage(self, connection: Connection, batch: Batch) -> Appended:
        """Append in a transaction: from now on every other writer waits for its end."""
        self.holder = connection
        connection.batch = batch
        dropped = self._dropped(batch)
        return Appended(len(self.log) + len(batch.events), [], dropped, {})

    def commit(self, connection: Connection) -> None:
        """Let everything of the transaction hold."""
        if connection.batch is not None:
            self._write(connection.batch, self._dropped(connection.batch))
        for change in connection.changes:
            change()
        self.end(connection)

    def end(self, connection: Connection) -> None:
        """End a transaction; what is not committed is undone."""
        if connection in self._open:
            self._open.remove(connection)
        if self.holder is connection:
            self.holder = None
            waiting, self.waiting = self.waiting, []
            for go_on in waiting:
                go_on()

    def disconnect(self, process: object) -> None:
        """End all transactions of a process that is gone, or has stopped in the middle of them."""
        for connection in [each for each in self._open if each.process is process]:
            connection.closed = True
            self.end(connection)

    def crash(self) -> None:
        """Go away. What the agenda did since the last append may be lost: it does not wait for the disk."""
        self.up = False
        for connection in [*self._open]:
            connection.closed = True
            self.end(connection)
        if self._loop.random.random() < 0.5:
            agenda, workers = self._synced
            self.agenda, self.workers = agenda.copy(), workers.copy()

    # the agenda's statements

    def register(self, owner: UUID, seconds: float) -> None:
        self.workers[owner] = self.promised[owner] = self._loop.now + seconds

    def renew(self, owner: UUID, seconds: float) -> bool:
        if owner not in self.workers:
            return False
        self.workers[owner] = self.promised[owner] = self._loop.now + seconds
        return True

    def take(self, owner: UUID, now: datetime, limit: int, per_tenant: int) -> list[Due]:
        if self.workers.get(owner, 0.0) <= self._loop.now:
            return []
        turns = Counter(row.tenant_id for row in self.agenda.values() if row.owner is not None)
        queued: list[tuple[int, datetime, UUID]] = []
        for operation, row in sorted(self.agenda.items(), key=lambda item: item[1].due_at):
            if row.owner is None and row.due_at <= now:
                turns[row.tenant_id] += 1
                queued.append((turns[row.tenant_id], row.due_at, operation))
        taken: list[Due] = []
        for turn, _, operation in sorted(queued)[:limit]:
            if turn <= per_tenant:
                row = self.agenda[operation] = self.agenda[operation]._replace(owner=owner)
                taken.append(Due(operation, row.tenant_id, row.kind, self.first.get(operation)))
        return taken

    def owns(self, owner: UUID, operation: UUID) -> bool:
        row = self.agenda.get(operation)
        return row is not None and row.owner == owner

    def free(self, owner: UUID, known: Collection[UUID]) -> int:
        for operation, row in self.agenda.items():
            if row.owner == owner and operation not in known:
                self.agenda[operation] = row._replace(owner=None)
        self.workers = {owner: until for owner, until in self.workers.items() if until >= self._loop.now}
        return self._free()

    def leave(self, owner: UUID) -> None:
        self.workers.pop(owner, None)
        self._free()

    def _free(self) -> int:
        freed = [
            operation
            for operation, row in self.agenda.items()
            if row.owner is not None and row.owner not in self.workers
        ]
        for operation in freed:
            self.agenda[operation] = self.agenda[operation]._replace(owner=None)
        return len(freed)
