"""A command on its way through the executor, and the slice of a partition that it may be part of."""

from __future__ import annotations

import json
from asyncio import Future
from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import UUID, uuid5

from handlers.execution.decode import Request
from handlers.execution.reply import Reply, problem_of
from handlers.store.batch import DeadLetterRow
from handlers.wire.dead_letters import sealed_headers
from handlers.wire.sealing import NOBODY, DataKey

_LETTERS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8a11")


class Origin(NamedTuple):
    """A message of the durable door: its place in the stream, when it was stored (ns), and what it was.

    `tenant` is the id in its subject, or `unknown`.
    """

    stream: str
    sequence: int
    stored_at: int
    tenant: str
    subject: str
    headers: Mapping[str, str]
    body: bytes

    def dead_letter(self, reason: str, error: str, key: DataKey, group: int) -> DeadLetterRow:
        """Return the row that keeps this message, sealed; the same message gives the same id."""
        return DeadLetterRow(
            id=uuid5(_LETTERS, f"{self.stream}:{self.sequence}:{self.stored_at}"),
            tenant=self.tenant,
            stream=self.stream,
            sequence=self.sequence,
            reason=reason,
            subject=self.subject.replace("\x00", "\ufffd"),  # PostgreSQL's text has no NUL
            headers=json.dumps(sealed_headers(self.headers, key)),
            body=key.body(self.body),
            error=error,
            group=group,
        )


def tenant_of(origin: Origin | None) -> UUID:
    """Return whose key seals a message of the durable door: its tenant's, or nobody's."""
    return NOBODY if origin is None or origin.tenant == "unknown" else UUID(origin.tenant)


class Job:
    """One command to be settled: `done` gets its reply, once.

    Either it has a `request` to be decided, or its `reply` is known: it did not fit its form, was given up,
    or the ledger has it. `sent` means that it may have been committed without our knowing. `attempt` is
    the mark of the last attempt that it was decided in, `tries` counts its technical failures.
    """

    __slots__ = (
        "attempt",
        "deadline",
        "done",
        "origin",
        "reason",
        "reply",
        "request",
        "sent",
        "settled",
        "slice",
        "tries",
    )

    def __init__(
        self,
        done: Callable[[Reply], None],
        *,
        request: Request | None = None,
        reply: Reply | None = None,
        origin: Origin | None = None,
        deadline: float = 0.0,
    ) -> None:
        self.done = done
        self.request = request
        self.reply = reply
        self.origin = origin
        self.deadline = deadline
        self.reason: str | None = None
        self.slice: Slice | None = None
        self.attempt: object = None
        self.settled = False
        self.sent = False
        self.tries = 0

    @property
    def sequence(self) -> int:
        """Its place in TENANT_COMMANDS; only durable commands have one."""
        assert self.origin is not None
        return self.origin.sequence

    @property
    def held(self) -> bool:
        """Whether it is the command that its partition failed at, or one that must wait for that."""
        failed = self.slice.failed if self.slice is not None else None
        return failed is not None and self.sequence >= failed.sequence

    def know(self, reply: Reply, reason: str | None = None) -> None:
        """Answer with `reply`, without a decision; as a dead letter it has the given reason."""
        self.request, self.reply, self.reason = None, reply, reason

    def dead_letter(self, refusal: Reply, key: DataKey, group: int) -> DeadLetterRow:
        """Return the row that keeps a durable command that is refused."""
        assert self.origin is not None
        assert refusal.problem is not None
        return self.origin.dead_letter(self.reason or refusal.problem, problem_of(refusal), key, group)

    def settle(self, reply: Reply) -> None:
        """Give the reply; this command needs nothing more."""
        self.settled = True
        self.done(reply)


class Reach(NamedTuple):
    """A message of a partition: its sequence, and when it was stored (ns)."""

    sequence: int
    stored_at: int


class Slice:
    """Consecutive commands of one partition; `sequence` is what the partition's progress row holds.

    `stored_at` is when the message there was stored (ns), 0 until one of these is settled. `failed` is the
    first command that could not be decided, `failure` why.
    """

    __slots__ = ("failed", "failure", "finished", "jobs", "owner", "partition", "sequence", "stored_at")

    def __init__(
        self, partition: int, owner: UUID, sequence: int, jobs: list[Job], finished: Future[None]
    ) -> None:
        self.partition = partition
        self.owner = owner
        self.sequence = sequence
        self.stored_at = 0
        self.jobs = jobs
        self.finished = finished
        self.failed: Job | None = None
        self.failure: Exception | None = None
        for job in jobs:
            job.slice = self

    def fail(self, job: Job, error: Exception) -> None:
        """Stop before `job`."""
        self.failed, self.failure = job, error

    def let_go(self) -> None:
        """Be known to its jobs no more: the cycle would be left to the garbage collector."""
        for job in self.jobs:
            if job.slice is self:
                job.slice = None

    def reach(self, attempt: object) -> Reach:
        """Return up to where all is settled, or will be when what `attempt` (its mark) decided is written."""
        reach = Reach(self.sequence, self.stored_at)
        for job in self.jobs:
            if not (job.settled or (attempt is not None and job.attempt is attempt)):
                break
            assert job.origin is not None
            reach = max(reach, Reach(job.origin.sequence, job.origin.stored_at))
        return reach

    def come_to(self, reach: Reach) -> None:
        """Take what the partition's row holds now."""
        self.sequence, self.stored_at = reach
