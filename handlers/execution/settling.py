"""Settling a batch: load, decide, append in one transaction; what was dropped is decided again at once."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from time import perf_counter
from uuid import UUID

import structlog

from handlers.adapters.keyring import Keyring, ReadKeys, TenantKeys
from handlers.execution.attempt import Attempt
from handlers.execution.decode import Request
from handlers.execution.job import Job, Reach, Slice
from handlers.execution.metrics import CommandMetrics
from handlers.execution.reply import Reply, refused, remembered, reused
from handlers.execution.spans import batched
from handlers.execution.verdict import Verdict
from handlers.store.batch import Appended, ProgressRow, Recorded
from handlers.store.cache import StreamCache
from handlers.store.errors import AmbiguousCommit, StoreUnavailable, is_outage
from handlers.store.event_store import EventStore
from handlers.store.tenant_keys import WrappedKey
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Ref
from tenant_domain.refusals import Unavailable
from tenant_domain.registry import COMMANDS

log = structlog.get_logger()

_ROUNDS = 50
"""Decisions at once, before the database is left in peace for a moment: others write these streams, too."""


class Settler:
    """Settles batches against one store.

    `now` is the clock that decisions see, `load_timeout` how many seconds states may take to load, `largest`
    says how many bytes a message may have.
    """

    def __init__(
        self,
        store: EventStore,
        cache: StreamCache,
        policy: Policy,
        keyring: Keyring,
        *,
        fingerprint: Callable[[bytes], bytes],
        now: Callable[[], datetime],
        metrics: CommandMetrics,
        load_timeout: float,
        largest: Callable[[], int],
    ) -> None:
        self._store = store
        self._cache = cache
        store.incarnation.heard_by(cache.clear)
        self._policy = policy
        self._keyring = keyring
        self._fingerprint = fingerprint
        self._now = now
        self._metrics = metrics
        self._load_timeout = load_timeout
        self._largest = largest

    async def settle(self, jobs: Sequence[Job]) -> int | None:
        """Settle all jobs that do not have to wait for a failed one; return the log's end if it moved.

        Of settled jobs it writes how far their partitions are, where that is not written yet.

        A command that fails for a technical reason fails alone: a durable one holds back what follows it in
        its partition, any other is answered `unavailable`. Raises Fenced, and whatever `is_outage`: then the
        jobs that are not settled are to be tried again.
        """
        try:
            return await self._rounds(jobs)
        except Exception as error:
            pending = _pending(jobs)
            if is_outage(error) or not pending:
                raise
            if len(pending) == 1:
                self._fail(pending[0], error)
                return await self.settle(jobs)  # the rows of their partitions may not say yet what is settled
        # One of them is what no transaction can hold: find it by halves.
        half = jobs.index(pending[len(pending) // 2])
        first, second = await self.settle(jobs[:half]), await self.settle(jobs[half:])
        return second or first

    async def recall(self, jobs: Sequence[Job]) -> None:
        """Give those of `jobs` that the ledger has their outcome."""
        asked = {(job.request.tenant_id, job.request.command_id): job for job in jobs if job.request}
        for key, recorded in (await self._store.recorded(asked)).items():
            job = asked[key]
            assert job.request is not None
            job.settle(self._outcome(job.request, recorded))

    async def _rounds(self, jobs: Sequence[Job]) -> int | None:
        slices = {job.slice for job in jobs if job.slice is not None}
        head = None
        assumed: set[Ref] = set()
        for _ in range(_ROUNDS):
            pending = _pending(jobs)
            if not pending and not _moving(slices, None):
                return head
            with batched(pending):
                attempt = await self._decided(pending, assumed)
                head = await self._append(attempt, slices) or head
            assumed.update(attempt.assumed)
        raise StoreUnavailable("the streams of this batch are written by others all the time")

    async def _decided(self, jobs: Sequence[Job], doubtful: Collection[Ref]) -> Attempt:
        """Decide jobs; streams in `doubtful` were assumed to be new in an earlier round."""
        requests = [job.request for job in jobs if job.request is not None]
        incarnation = self._store.incarnation.number
        attempt = Attempt(
            self._cache, self._policy, self._now(), self._fingerprint, self._largest(), incarnation
        )
        await self._load(attempt, doubtful)
        # With all keys that are not in memory all streams that are not; a lone command needs mostly neither.
        attempt.keys = await self._keys(
            {each.tenant_id for each in requests if _has_personal(each)},
            lambda tenants: self._load(attempt, _missing(attempt, requests), tenants),
        )
        for _ in range(2 if len(requests) > 1 else 0):  # the second for what only the tenant's state names
            missing = _missing(attempt, requests)
            if not missing:
                break
            await self._load(attempt, missing)
        for job in jobs:
            if not job.held:
                await self._decide(attempt, job)
        await self._recall(attempt)
        return attempt

    async def _decide(self, attempt: Attempt, job: Job) -> None:
        while True:
            try:
                missing = attempt.decide(job)
            except Exception as error:  # noqa: BLE001 whatever it is, it is this command's alone
                self._fail(job, error)
                return
            if not missing:
                return
            await self._load(attempt, missing)  # named by what a command before it in this batch did

    async def _load(
        self, attempt: Attempt, refs: Collection[Ref], keys_of: Collection[UUID] = ()
    ) -> Sequence[WrappedKey]:
        """Add streams to an attempt, and return the keys of tenants, in one round trip."""
        if not refs and not keys_of:
            return ()
        async with asyncio.timeout(self._load_timeout):
            loaded, keys = await self._store.load_to_append(refs, keys_of)
        attempt.add(loaded)
        return keys

    async def _keys(self, tenants: Collection[UUID], read: ReadKeys | None = None) -> dict[UUID, TenantKeys]:
        if not tenants:
            return {}
        async with asyncio.timeout(self._load_timeout):
            return await self._keyring.prepare(tenants, read)

    async def _recall(self, attempt: Attempt) -> None:
        """Let the ledger answer repeats of commands that would be refused now without a record."""
        doubtful = {
            (verdict.job.request.tenant_id, verdict.job.request.command_id): verdict
            for verdict in attempt.verdicts
            if verdict.job.request is not None and verdict.recorded is None and verdict.first is None
        }
        if not doubtful:
            return
        async with asyncio.timeout(self._load_timeout):
            found = await self._store.recorded(doubtful)
        for key, recorded in found.items():
            verdict = doubtful[key]
            request = verdict.job.request
            assert request is not None
            verdict.know(self._outcome(request, recorded))

    async def _append(self, attempt: Attempt, slices: Iterable[Slice]) -> int | None:
        moving = _moving(slices, attempt)
        batch = attempt.batch(
            [ProgressRow(each.partition, each.owner, each.sequence, *reach) for each, reach in moving],
            await self._keys(attempt.buried()),
        )
        began = perf_counter()
        try:
            appended = await self._store.append(batch)
        except (AmbiguousCommit, asyncio.CancelledError):
            for verdict in attempt.verdicts:
                verdict.job.sent = True
            raise
        if not appended.dropped:
            for each, reach in moving:
                each.come_to(reach)
        took = perf_counter() - began
        self._answer(attempt, appended)
        await asyncio.sleep(0)  # a turn of the loop for the replies to go: nobody waits for what follows
        if attempt.incarnation == self._store.incarnation.number:
            attempt.keep(appended.dropped)
            self._keyring.stored(attempt.new_keys(appended.dropped))
        self._metrics.appended(len(attempt.verdicts), took, len(appended.dropped))
        return appended.head if batch.events else None

    def _answer(self, attempt: Attempt, appended: Appended) -> None:
        positions = iter(appended.positions)
        for verdict in attempt.verdicts:
            position = next(positions) if verdict.recorded is not None else None
            if verdict.recorded is not None and _is_claimed(verdict.job.request):
                next(positions)  # the claim's row says the same
            if attempt.group_of(verdict) in appended.dropped:
                self._answer_repeated(verdict, appended)
            else:
                reply = verdict.concluded(position)
                verdict.job.settle(reply)
                self._metrics.settled(verdict.job, reply)

    def _answer_repeated(self, verdict: Verdict, appended: Appended) -> None:
        job, request = verdict.job, verdict.job.request
        if request is None:
            return
        recorded = appended.repeated.get((request.tenant_id, request.command_id))
        if recorded is not None:
            reply = self._outcome(request, recorded)
        elif request.claim is not None and (request.claim, request.command_id) in appended.repeated:
            reply = self._claimed(request, appended.repeated[request.claim, request.command_id])
        else:
            return
        job.know(reply)
        if job.origin is None:
            self._metrics.settled(job, reply)
            job.settle(reply)

    def _outcome(self, request: Request, recorded: Recorded) -> Reply:
        """Return what a command gets that the ledger has under its id."""
        return (
            remembered(recorded)
            if recorded.hash == self._fingerprint(request.hash)
            else reused(request.command_id, request.tenant_id)
        )

    def _claimed(self, request: Request, recorded: Recorded) -> Reply:
        """Return what a command gets whose id was taken for its claim, by itself or by another one."""
        return (
            remembered(recorded)
            if recorded.hash == self._fingerprint(request.claim_hash)
            else reused(request.command_id, request.tenant_id)
        )

    def _fail(self, job: Job, error: Exception) -> None:
        request = job.request
        self._metrics.failed()
        log.error(
            "command failed",
            tenant_id=str(request.tenant_id) if request else None,
            command_id=str(request.command_id) if request else None,
            command=request.command if request else None,
            error=type(error).__name__,  # what it says may name a person
            where="".join(traceback.format_tb(error.__traceback__)),
        )
        if job.slice is not None:
            job.slice.fail(job, error)
        elif request is not None:
            failure = Unavailable("The command failed for a technical reason.", retry_after=1)
            job.settle(refused(request.command_id, request.tenant_id, failure))


def _missing(attempt: Attempt, requests: Iterable[Request]) -> set[Ref]:
    return {ref for request in requests for ref in attempt.missing(request)}


def _is_claimed(request: Request | None) -> bool:
    """Return whether a command's id is taken in another place of the ledger, too."""
    return request is not None and request.claim not in (None, request.tenant_id)


def _has_personal(request: Request) -> bool:
    """Return whether a command has to do with personal fields of its tenant."""
    return COMMANDS[request.command].personal(request.form)


def _moving(slices: Iterable[Slice], attempt: Attempt | None) -> list[tuple[Slice, Reach]]:
    reaches = ((each, each.reach(attempt and attempt.mark)) for each in slices)
    return [(each, reach) for each, reach in reaches if reach.sequence > each.sequence]


def _pending(jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if not job.settled and not job.held]
