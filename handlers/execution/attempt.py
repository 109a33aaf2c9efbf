"""One attempt at a batch: commands decided in order, each on the states that those before it left behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from handlers.adapters.keyring import TenantKeys
from handlers.execution.decode import ANY_VERSION, Request
from handlers.execution.groups import Groups
from handlers.execution.job import Job, tenant_of
from handlers.execution.reply import Reply, reused
from handlers.execution.sizes import require_room
from handlers.execution.streams import Stream
from handlers.execution.verdict import Verdict
from handlers.store.batch import AgendaRow, Batch, EventRow, KeyRow, LedgerRow, ProgressRow, ReadRow
from handlers.store.cache import StreamCache
from handlers.store.event_store import Loaded
from handlers.wire.events import encoded
from handlers.wire.outcomes import completed
from handlers.wire.sealing import needs_sealing, sealed
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Context, Decision, Event, Ref, World
from tenant_domain.operation.state import Operation
from tenant_domain.refusals import Refusal, VersionConflict
from tenant_domain.registry import COMMANDS, ENTITIES
from tenant_domain.tenant.decide import ref as tenant_ref
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import operation_id_of


class Attempt:
    """Decides jobs one by one and makes the batch of rows that follows.

    States come from `cache`, and from `add` for what it does not have (`missing` says what). `assumed` are
    streams that were written to as new ones, unread. `mark` is what its jobs know it by: a reference to the
    attempt itself would make a cycle of the whole batch, for the garbage collector to find. `fingerprint`
    makes of a command's hash what the ledger keeps of it. A message may have `largest` bytes.

    `keys` has the keys of each tenant that a command with personal fields is for. Its facts are sealed before
    they change a state, so that states in memory are those that the log gives. `incarnation` is the number of
    the database's before any of it was read: its batch is written there or nowhere.
    """

    def __init__(
        self,
        cache: StreamCache,
        policy: Policy,
        now: datetime,
        fingerprint: Callable[[bytes], bytes],
        largest: int,
        incarnation: int = 0,
    ) -> None:
        self._cache = cache
        self.incarnation = incarnation
        self.keys: Mapping[UUID, TenantKeys] = {}
        self._fingerprint = fingerprint
        self._largest = largest
        self._policy = policy
        self._now = now
        self._streams: dict[UUID, Stream] = {}
        self._groups = Groups()
        self.mark = object()
        self.verdicts: list[Verdict] = []
        self.assumed: list[Ref] = []
        self._claims: dict[tuple[UUID, UUID], Verdict] = {}

    def add(self, loaded: Mapping[UUID, Loaded]) -> None:
        """Take states as they were loaded."""
        for id, (state, version) in loaded.items():
            self._streams[id] = Stream(id, state, version)

    def missing(self, request: Request) -> list[Ref]:
        """Return the streams that a command reads, as far as it is known which, and that are not here."""
        tenant = self._known(request.tenant_id)
        state = None if tenant is None else tenant.state
        refs = COMMANDS[request.command].streams(request.tenant_id, request.form, state)
        missing = [ref for ref in refs if self._known(ref.stream) is None]
        if tenant is None:
            missing.append(tenant_ref(request.tenant_id))
        return missing

    def decide(self, job: Job) -> list[Ref]:
        """Decide a job, or return the streams that have to be added before.

        Raises what is not a refusal: a technical failure of this command, which leaves no trace here.
        """
        request = job.request
        if request is None:
            verdict = Verdict(job, self._groups.add())
            verdict.know(job.reply)
        else:
            tenant = self._known(request.tenant_id)
            if tenant is None:
                return self.missing(request)
            verdict = self._verdict(job, request, tenant)
            if verdict is None:
                return self.missing(request)
        job.attempt = self.mark
        self.verdicts.append(verdict)
        return []

    def buried(self) -> set[UUID]:
        """Return the tenants whose commands become dead letters, and whose keys are not here."""
        buried = (tenant_of(verdict.job.origin) for verdict in self.verdicts if _burial(verdict) is not None)
        return {tenant for tenant in buried if tenant not in self.keys}

    def batch(self, progress: list[ProgressRow], keys: Mapping[UUID, TenantKeys]) -> Batch:
        """Return the rows of all that was decided; `keys` are those of the `buried`."""
        batch = Batch(progress=progress, incarnation=self.incarnation)
        for verdict in self.verdicts:
            self._collect(batch, verdict, self._groups.of(verdict.member), keys)
        batch.reads = [
            ReadRow(stream.id, stream.read, self._groups.of(stream.member))
            for stream in self._streams.values()
            if stream.member >= 0 and stream.version == stream.read
        ]
        return batch

    def group_of(self, verdict: Verdict) -> int:
        """Return the group that stands or falls with a verdict."""
        return self._groups.of(verdict.member)

    def new_keys(self, dropped: Collection[int]) -> list[TenantKeys]:
        """Return the keys that were stored with what they sealed."""
        return [
            verdict.keys
            for verdict in self.verdicts
            if verdict.keys is not None and verdict.keys.wrapped is not None
            if self._groups.of(verdict.member) not in dropped
        ]

    def keep(self, dropped: Collection[int]) -> None:
        """Cache the states that hold now; forget those of dropped groups, which turned out to be old."""
        held: dict[UUID, Loaded] = {}
        old: list[UUID] = []
        for stream in self._streams.values():
            if dropped and stream.member >= 0 and self._groups.of(stream.member) in dropped:
                old.append(stream.id)
            else:
                held[stream.id] = Loaded(stream.state, stream.version)
        self._cache.put(held)
        self._cache.evict(old)

    def _known(self, id: UUID) -> Stream | None:
        stream = self._streams.get(id)
        if stream is None:
            cached = self._cache.get(id)
            if cached is not None:
                stream = self._streams[id] = Stream(id, cached.state, cached.version)
        return stream

    def _verdict(self, job: Job, request: Request, tenant: Stream) -> Verdict | None:
        if tenant.commands is not None and request.command_id in tenant.commands:
            return _repeated(job, request, tenant.commands[request.command_id])
        if request.claim is not None:
            first = self._claims.get((request.claim, request.command_id))
            if first is not None:
                return _repeated(job, request, first)
        read = [tenant]
        for ref in COMMANDS[request.command].streams(request.tenant_id, request.form, tenant.state):
            stream = self._known(ref.stream)
            if stream is None:
                return None
            read.append(stream)
        verdict = Verdict(job, self._groups.add())
        try:
            self._complete(verdict, request, self._decision(request, read), tenant)
        except Refusal as refusal:
            verdict.refuse(request, refusal)
        self._touch(verdict.member, read)
        if verdict.recorded is not None:
            if tenant.commands is None:
                tenant.commands = {}
            tenant.commands[request.command_id] = verdict
            if request.claim is not None:
                self._claims[request.claim, request.command_id] = verdict
        return verdict

    def _decision(self, request: Request, read: list[Stream]) -> Decision:
        world = World({stream.id: self._seen(stream, request) for stream in read})
        context = Context(
            tenant_id=read[0].id,
            now=self._now,
            operation_id=operation_id_of(request.tenant_id, request.command_id),
            actor=request.meta.actor,
            policy=self._policy,
            authority=request.authority,
        )
        version = read[0].version
        others = request.other_versions
        stale = (
            version in others
            or (version > 0 and ANY_VERSION in others)
            or (request.expected_versions is not None and version not in request.expected_versions)
        )
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

    def _seen(self, stream: Stream, request: Request) -> Any:
        """Return a state as the decision sees it: of a tenant opened, where that matters."""
        state = stream.state
        if not isinstance(state, Tenant) or request.tenant_id not in self.keys:
            return state
        return self.keys[request.tenant_id].opened(state)

    def _sealed(self, verdict: Verdict, request: Request, event: Event) -> Event:
        if not needs_sealing(event):
            return event
        verdict.keys = self.keys[request.tenant_id]
        return sealed(event, verdict.keys.current)

    def _complete(self, verdict: Verdict, request: Request, decision: Decision, tenant: Stream) -> None:
        """Fold and encode what was decided; the streams change only when all of it went well."""
        after: dict[Stream, tuple[Any, int]] = {}
        for ref, fact in decision.events:
            event = self._sealed(verdict, request, fact)
            stream = tenant if ref.stream is tenant.id else self._written(ref)
            former, version = after.get(stream) or (stream.state, stream.version)
            evolve = ENTITIES[ref.entity].evolve
            state = evolve(former, event)
            if stream is tenant and tenant.id in self.keys:
                self.keys[tenant.id].last.follow(former, state, evolve, fact)
            version += 1
            after[stream] = (state, version)
            verdict.facts.append((stream.id, version, event.name, encoded(event, request.meta)))
            if isinstance(state, Operation):
                verdict.agenda[stream.id] = state.kind
        state, version = after.get(tenant) or (tenant.state, tenant.version)
        recorded = completed(
            request.command_id, request.tenant_id, version, decision.operation_id, decision.result
        )
        require_room(request, [fact[3] for fact in verdict.facts], state, recorded, self._largest)
        verdict.recorded = recorded
        verdict.operation_id = decision.operation_id
        for stream, (state, version) in after.items():
            stream.state, stream.version = state, version
        self._touch(verdict.member, after)

    def _written(self, ref: Ref) -> Stream:
        """Return a stream to write to. One that was not read is new, or the append says that it is not."""
        stream = self._known(ref.stream)
        if stream is None:
            stream = self._streams[ref.stream] = Stream(ref.stream, None, 0)
            self.assumed.append(ref)
        return stream

    def _touch(self, member: int, streams: Iterable[Stream]) -> None:
        for stream in streams:
            if stream.member < 0:
                stream.member = member
            elif stream.member != member:
                self._groups.join(stream.member, member)

    def _collect(self, batch: Batch, verdict: Verdict, group: int, keys: Mapping[UUID, TenantKeys]) -> None:
        request = verdict.job.request
        if request is not None and verdict.recorded is not None:
            tenant_id = request.tenant_id
            for stream_id, version, topic, state in verdict.facts:
                batch.events.append(EventRow(tenant_id, stream_id, version, topic, state, group))
            for operation_id, kind in verdict.agenda.items():
                batch.agenda.append(AgendaRow(operation_id, tenant_id, kind, self._now, None, group))
            batch.ledger.append(
                LedgerRow(
                    tenant_id,
                    request.command_id,
                    self._fingerprint(request.hash),
                    verdict.recorded,
                    verdict.refusal is None,
                    len(verdict.facts),
                    group,
                )
            )
            if request.claim not in (None, tenant_id):
                claimed = self._fingerprint(request.claim_hash)
                batch.ledger.append(
                    batch.ledger[-1]._replace(tenant_id=request.claim, hash=claimed, events=0)
                )
        if verdict.keys is not None:
            _keep(batch, verdict.keys, group)
        refusal = _burial(verdict)
        if refusal is not None:
            tenant = tenant_of(verdict.job.origin)
            own = self.keys.get(tenant) or keys[tenant]
            batch.dead_letters.append(verdict.job.dead_letter(refusal, own.current, group))
            _keep(batch, own, group)


def _burial(verdict: Verdict) -> Reply | None:
    """Return the refusal for which a durable command becomes a dead letter."""
    if verdict.job.origin is None:
        return None
    return verdict.refusal if verdict.first is None else verdict.first.refusal


def _keep(batch: Batch, keys: TenantKeys, group: int) -> None:
    """Store a new key with what it sealed."""
    if keys.wrapped is not None:
        batch.keys.append(KeyRow(keys.current.tenant_id, keys.current.id, keys.wrapped, group))


def _repeated(job: Job, request: Request, first: Verdict) -> Verdict:
    verdict = Verdict(job, first.member)
    assert first.job.request is not None
    if first.job.request.hash == request.hash and first.job.request.tenant_id == request.tenant_id:
        verdict.first = first
    else:
        verdict.know(reused(request.command_id, request.tenant_id))
    return verdict
