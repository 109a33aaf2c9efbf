"""What is written in one transaction, and what came of it.

Rows of one `group` stand or fall together. The events of commands come first, in the order of the ledger's
rows, each of which says how many are its own; events without a command follow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class EventRow(NamedTuple):
    """An event: its stream's next version, its stored name and body."""

    tenant_id: UUID
    stream_id: UUID
    version: int
    topic: str
    state: bytes
    group: int


class ReadRow(NamedTuple):
    """A decision was based on this stored version of a stream (0: empty).

    If it has moved on, the group is dropped. A stream that is only written needs no row: its first event says
    what it was read at.
    """

    stream_id: UUID
    version: int
    group: int


class LedgerRow(NamedTuple):
    """A command and its outcome (handlers/wire/outcomes.py); `events` counts those that are its own."""

    tenant_id: UUID
    command_id: UUID
    hash: bytes
    outcome: bytes
    completed: bool
    events: int
    group: int


class ProgressRow(NamedTuple):
    """A partition that `owner` holds goes on from the sequence `expected` to `sequence`.

    `stored_at` is when the stream stored the message at `sequence` (ns), 0 where nobody knows.
    """

    partition: int
    owner: UUID
    expected: int
    sequence: int
    stored_at: int = 0


class AgendaRow(NamedTuple):
    """When a run of a saga is due; without `due_at` it is off the agenda.

    `owner` is the worker that lets go of the run. Anybody else's row leaves it with the worker that has it,
    who finds what was appended when it appends itself.
    """

    operation_id: UUID
    tenant_id: UUID
    kind: str
    due_at: datetime | None
    owner: UUID | None
    group: int


class DeadLetterRow(NamedTuple):
    """A message that was given up; the same id is written once. `headers` is a JSON object."""

    id: UUID
    tenant: str
    stream: str
    sequence: int
    reason: str
    subject: str
    headers: str
    body: bytes
    error: str
    group: int


class KeyRow(NamedTuple):
    """A tenant's new data key, wrapped; the same one is written once, and none for an erased tenant."""

    tenant_id: UUID
    key_id: UUID
    wrapped: bytes
    group: int


@dataclass(slots=True)
class Batch:
    """One transaction. The same command id twice in one batch is the caller's mistake.

    `incarnation` is the number of that which the batch was decided on: in another one it is not written.
    """

    events: list[EventRow] = field(default_factory=list[EventRow])
    reads: list[ReadRow] = field(default_factory=list[ReadRow])
    ledger: list[LedgerRow] = field(default_factory=list[LedgerRow])
    progress: list[ProgressRow] = field(default_factory=list[ProgressRow])
    agenda: list[AgendaRow] = field(default_factory=list[AgendaRow])
    dead_letters: list[DeadLetterRow] = field(default_factory=list[DeadLetterRow])
    keys: list[KeyRow] = field(default_factory=list[KeyRow])
    incarnation: int | None = None


class Recorded(NamedTuple):
    """What the ledger holds of a command; `position` is None for a refusal."""

    hash: bytes
    outcome: bytes
    position: int | None


@dataclass(frozen=True, slots=True)
class Appended:
    """What came of a batch.

    `head` is the log's end after it. `positions` has one entry for each ledger row: the position of its last
    event (of the log's end at its turn, where it has none), None when it was dropped. `dropped` are the
    groups to be decided again, `repeated` the commands among them that the ledger had already. Progress
    moved only if nothing was dropped.
    """

    head: int
    positions: list[int | None]
    dropped: frozenset[int]
    repeated: dict[tuple[UUID, UUID], Recorded]
