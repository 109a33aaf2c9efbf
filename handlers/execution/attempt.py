"""One attempt at a batch: commands decided in order, each on the states that those before it left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from handlers.execution.decode import Request
from handlers.execution.groups import Groups
from handlers.execution.job import Job
from handlers.execution.reply import Reply, refused
from handlers.store.batch import AgendaRow, Batch, EventRow, LedgerRow, ProgressRow, ReadRow
from handlers.store.cache import StreamCache
from handlers.store.event_store import Loaded
from handlers.wire.events import encoded
from handlers.wire.outcomes import completed, rejected, rendered
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Context, Decision, Ref, World
from tenant_domain.operation.state import Operation
from tenant_domain.refusals import CommandIdReused, Refusal, VersionConflict
from tenant_domain.registry import COMMANDS, ENTITIES
from tenant_domain.tenant.decide import ref as tenant_ref
from tenant_domain.values import operation_id_of

_EMPTY = Loaded(None, 0)


class Fact(NamedTuple):
    """An event that was decided on, as it is stored."""

    stream: UUID
    version: int
    topic: str
    state: bytes


class Verdict:
    """What was decided on a command, until the append says whether it holds.

    `recorded` is what the ledger keeps of it. `refusal` is the caller's reply when the command is refused;
    `first` is the same command earlier in the batch, whose outcome this one shares.
    """

    __slots__ = ("agenda", "facts", "first", "job", "member", "operation_id", "recorded", "refusal", "reply")

    def __init__(self, job: Job, member: int) -> None:
        self.job = job
        self.member = member
        self.facts: list[Fact] = []
        self.agenda: dict[UUID, str] = {}
        self.operation_id: UUID | None = None
        self.recorded: bytes | None = None
        self.refusal: Reply | None = None
        self.first: Verdict | None = None
        self.reply: Reply | None = None

    def know(self, reply: Reply | None) -> None:
        """Answer with `reply`, whatever the append says."""
        self.reply = reply
        self.refusal = reply if reply is not None and reply.problem is not None else None

    def concluded(self, position: int | None) -> Reply:
        """Return the reply, now that what was decided holds; `position` is that of its row in the ledger."""
        if self.first is not None:
            self.reply = self.first.reply
        elif self.recorded is not None and self.refusal is None:
            self.reply = Reply(rendered(self.recorded, position), operation_id=self.operation_id)
        assert self.reply is not None
        return self.reply


class Attempt:
    """Decides jobs one by one and makes the batch of rows that follows.

    States come from `cache`, and from `add` for what it does not have (`missing` says what).
    """

    def __init__(self, cache: StreamCache, policy: Policy, now: datetime) -> None:
        self._cache = cache
        self._policy = policy
        self._now = now
        self._read: dict[UUID, Loaded] = {}
        self._present: dict[UUID, Loaded] = {}
        self._groups = Groups()
        self._firsts: dict[tuple[UUID, UUID], Verdict] = {}
        self.verdicts: list[Verdict] = []

    def add(self, loaded: Mapping[UUID, Loaded]) -> None:
        """Take states as they were loaded."""
        self._read.update(loaded)
        self._present.update(loaded)

    def refs(self, request: Request) -> list[Ref]:
        """Return the streams that a command reads, as far as its tenant's state is known."""
        tenant = tenant_ref(request.tenant_id)
        known = self._knows(tenant.stream)
        state = self._present[tenant.stream].state if known else None
        return [tenant, *COMMANDS[request.command].streams(request.tenant_id, request.form, state)]

    def missing(self, refs: Iterable[Ref]) -> list[Ref]:
        """Return those streams whose states are neither here nor in the cache."""
        return [ref for ref in refs if not self._knows(ref.stream)]

    def decide(self, job: Job, refs: Collection[Ref]) -> None:
        """Decide a job; all its `refs` must be there.

        Raises what is not a refusal: a technical failure of this command, which leaves no trace here.
        """
        request = job.request
        if request is None:
            verdict = Verdict(job, self._groups.add(()))
            verdict.know(job.reply)
        else:
            verdict = self._verdict(job, request, refs)
        self.verdicts.append(verdict)

    def batch(self, progress: list[ProgressRow]) -> Batch:
        """Return the rows of all that was decided."""
        batch = Batch(progress=progress)
        group_of = self._groups.of
        written = set[UUID]()
        for verdict in self.verdicts:
            self._collect(batch, verdict, group_of(verdict.member), written)
        read = self._read
        batch.reads = [
            ReadRow(stream, read[stream].version, group)
            for stream, group in self._groups.streams()
            if stream not in written
        ]
        return batch

    def group_of(self, verdict: Verdict) -> int:
        """Return the group that stands or falls with a verdict."""
        return self._groups.of(verdict.member)

    def streams_of(self, groups: Collection[int], *, inside: bool) -> list[UUID]:
        """Return the streams of these groups, or of all others."""
        return [stream for stream, group in self._groups.streams() if (group in groups) is inside]

    def keep(self, dropped: Collection[int]) -> None:
        """Cache the states that hold now; forget those of dropped groups, which turned out to be old."""
        if dropped:
            self._cache.evict(self.streams_of(dropped, inside=True))
        held = self.streams_of(dropped, inside=False) if dropped else self._present.keys()
        self._cache.put({stream: self._present[stream] for stream in held if stream in self._present})

    def _knows(self, stream: UUID) -> bool:
        if stream in self._present:
            return True
        cached = self._cache.get(stream)
        if cached is None:
            return False
        self._read[stream] = self._present[stream] = cached
        return True

    def _verdict(self, job: Job, request: Request, refs: Collection[Ref]) -> Verdict:
        streams = [ref.stream for ref in refs]
        key = (request.tenant_id, request.command_id)
        first = self._firsts.get(key)
        if first is not None:
            return self._repeated(job, request, first)
        verdict = Verdict(job, -1)
        try:
            self._complete(verdict, request, self._decision(request, refs))
        except Refusal as refusal:
            _refuse(verdict, request, refusal)
        verdict.member = self._groups.add(streams)
        self._groups.touch(verdict.member, (fact.stream for fact in verdict.facts))
        if verdict.recorded is not None:
            self._firsts[key] = verdict
        return verdict

    def _repeated(self, job: Job, request: Request, first: Verdict) -> Verdict:
        verdict = Verdict(job, first.member)
        assert first.job.request is not None
        if first.job.request.hash == request.hash:
            verdict.first = first
        else:
            verdict.know(reused(request))
        return verdict

    def _decision(self, request: Request, refs: Collection[Ref]) -> Decision:
        world = World({ref.stream: self._present[ref.stream].state for ref in refs})
        context = Context(
            tenant_id=request.tenant_id,
            now=self._now,
            operation_id=operation_id_of(request.tenant_id, request.command_id),
            actor=request.meta.actor,
            policy=self._policy,
        )
        version = self._present[request.tenant_id].version
        stale = request.expected_version is not None and request.expected_version != version
        conflict = VersionConflict(f"The tenant is at version {version}.", version=version) if stale else None
        try:
            decision = COMMANDS[request.command].decide(request.form, world, context)
        except Refusal as refusal:
            # What does not exist has no version that could fit (RFC 9110, 13.2.1).
            if conflict is None or refusal.status in (404, 410):
                raise
            raise conflict from None
        if conflict is not None:
            raise conflict
        return decision

    def _complete(self, verdict: Verdict, request: Request, decision: Decision) -> None:
        after: dict[UUID, Loaded] = {}
        for ref, event in decision.events:
            stream = ref.stream
            state, version = after.get(stream) or self._present.get(stream, _EMPTY)
            state = ENTITIES[ref.entity].evolve(state, event)
            after[stream] = Loaded(state, version + 1)
            verdict.facts.append(Fact(stream, version + 1, event.name, encoded(event, request.meta)))
            if isinstance(state, Operation):
                verdict.agenda[stream] = state.kind
        present = after.get(request.tenant_id) or self._present[request.tenant_id]
        verdict.recorded = completed(
            request.command_id, request.tenant_id, present.version, decision.operation_id, decision.result
        )
        verdict.operation_id = decision.operation_id
        for stream in after:
            self._read.setdefault(stream, _EMPTY)
        self._present.update(after)

    def _collect(self, batch: Batch, verdict: Verdict, group: int, written: set[UUID]) -> None:
        request = verdict.job.request
        if request is not None and verdict.recorded is not None:
            tenant_id = request.tenant_id
            for stream, version, topic, state in verdict.facts:
                batch.events.append(EventRow(tenant_id, stream, version, topic, state, group))
                written.add(stream)
            for operation_id, kind in verdict.agenda.items():
                batch.agenda.append(AgendaRow(operation_id, tenant_id, kind, self._now, None, group))
            batch.ledger.append(
                LedgerRow(
                    tenant_id,
                    request.command_id,
                    request.hash,
                    verdict.recorded,
                    verdict.refusal is None,
                    len(verdict.facts),
                    group,
                )
            )
        refusal = verdict.refusal if verdict.first is None else verdict.first.refusal
        letter = None if refusal is None else verdict.job.dead_letter(refusal, group)
        if letter is not None:
            batch.dead_letters.append(letter)


def reused(request: Request) -> Reply:
    """Return the refusal of a command whose id stands for another one."""
    detail = "This command id was used before for another command or body; take a new one."
    return refused(request.command_id, request.tenant_id, CommandIdReused(detail))


def _refuse(verdict: Verdict, request: Request, refusal: Refusal) -> None:
    body = rejected(request.command_id, request.tenant_id, refusal)
    verdict.know(Reply(body, refusal.status, refusal.problem))
    if refusal.recorded:
        verdict.recorded = body
