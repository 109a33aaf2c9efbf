"""The executor: one per process, one batch in flight, and whatever waits goes into the next one."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from handlers import tracing
from handlers.adapters.beats import Beat, Beats
from handlers.adapters.clock import utc_now
from handlers.adapters.keyring import Keyring
from handlers.adapters.tasks import watched
from handlers.execution.decode import Request
from handlers.execution.job import Job, Slice
from handlers.execution.metrics import CommandMetrics
from handlers.execution.reply import Reply, refused
from handlers.execution.settling import Settler
from handlers.execution.sizes import DEFAULT_LARGEST
from handlers.execution.spans import followed
from handlers.store.cache import StreamCache
from handlers.store.errors import Fenced, StoreUnavailable, is_outage
from handlers.store.event_store import EventStore
from tenant_domain.catalogue import Policy
from tenant_domain.refusals import RateLimited, Refusal, Unavailable

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between tries while the database is down; the longest bounds how late its return is noticed."""

_LOOKS, _WAY_IN = 10, 3
"""How often a crowd is looked for before a batch, and the turns of the loop between two looks: so many lie
between a message on the socket and its command here."""


def _ignore(_head: int) -> None: ...


class Executor:
    """Settles commands of all doors in batches.

    A lone command is settled at once; what comes meanwhile waits for the next batch of at most `batch_size`.
    While many call, a batch lets in those who come in the next turns of the loop.
    At most `waiting_commands` of `waiting_bytes` wait at the answered doors: beyond that `rate-limited`. One
    that waited `unavailable_after` seconds and was surely not written is `unavailable`; one that may have
    been written gets its answer from the ledger when the database is back, and none before.
    Durable commands wait as long as it takes. `keyring` seals personal fields, `fingerprint` makes of a
    command's hash what the ledger keeps. `committed` is called with the log's end after a commit. `largest`
    says how many bytes a message may have now: what would not fit into one is refused. `beat` is told of each
    batch.
    """

    def __init__(
        self,
        store: EventStore,
        policy: Policy,
        keyring: Keyring,
        *,
        fingerprint: Callable[[bytes], bytes],
        cache: StreamCache | None = None,
        metrics: CommandMetrics | None = None,
        committed: Callable[[int], None] = _ignore,
        now: Callable[[], datetime] = utc_now,
        batch_size: int = 500,
        waiting_commands: int = 10_000,
        waiting_bytes: int = 64 * 1024 * 1024,
        unavailable_after: float = 2.0,
        beat: Beat | None = None,
        largest: Callable[[], int] = lambda: DEFAULT_LARGEST,
    ) -> None:
        self._beat = beat or Beats().engine("executor")
        self._metrics = metrics or CommandMetrics()
        self._settler = Settler(
            store,
            cache if cache is not None else StreamCache(),
            policy,
            keyring,
            fingerprint=fingerprint,
            now=now,
            metrics=self._metrics,
            load_timeout=unavailable_after,
            largest=largest,
        )
        self._committed = committed
        self._batch_size = batch_size
        self._most_waiting = waiting_commands
        self._most_bytes = waiting_bytes
        self._patience = unavailable_after
        self._answered: deque[Job] = deque()
        self._bytes = 0
        self._slices: deque[Slice] = deque()
        self._batch: list[Job] = []
        self._work = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._outage = False
        self._open = False
        self._crowd = 0
        self._task: asyncio.Task[None] | None = None
        self._metrics.watch_waiting(lambda: len(self._answered))

    async def start(self) -> None:
        """Begin to settle what is submitted."""
        self._open = True
        self._task = watched(self._run(), "executor")

    async def stop(self, grace: float = 5.0) -> None:
        """Take nothing more, settle what waits as far as `grace` seconds allow, then refuse the rest."""
        self._open = False
        self._work.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        stopping = StoreUnavailable("the executor is stopping")
        while self._answered or self._slices:
            self._batch += self._take()[0]
        for job in self._batch:
            if job.slice is not None and not job.slice.finished.done():
                job.slice.finished.set_exception(stopping)
            elif job.slice is None and not job.settled and not job.sent:
                self._refuse(job, Unavailable("The service is stopping; nothing was done.", retry_after=1))
        if self._expiry is not None:
            self._expiry.cancel()

    async def execute(self, request: Request) -> Reply:
        """Settle one command and return its outcome, whatever it is.

        Bound the wait: while it is not known whether a command was written, nothing comes back.
        """
        return await awaited(self.submit, request)

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Settle one command; `done` gets its outcome, at once when it cannot wait here."""
        now = asyncio.get_running_loop().time()
        job = Job(done, request=request, deadline=now + self._patience)
        if not self._open:
            self._refuse(job, Unavailable("The service is stopping.", retry_after=1))
        elif len(self._answered) >= self._most_waiting or self._bytes + request.size > self._most_bytes:
            self._refuse(job, self._overload())
        else:
            self._answered.append(job)
            self._bytes += request.size
            self._work.set()
            if self._expiry is None:
                self._expire_at(job.deadline)

    async def settle(self, partition: int, owner: UUID, sequence: int, jobs: list[Job]) -> Slice:
        """Settle consecutive commands of a partition whose progress row holds `sequence`.

        Returns their slice: how far they are, and the command that failed for a technical reason, if any.
        Raises Fenced when the partition is another worker's, or at another sequence, and StoreUnavailable
        when the executor is stopping.
        """
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        piece = Slice(partition, owner, sequence, jobs, finished)
        if not self._open:
            raise StoreUnavailable("the executor is stopping")
        self._slices.append(piece)
        self._work.set()
        await finished
        return piece

    async def recall(self, jobs: list[Job]) -> None:
        """Give those of `jobs` that the ledger has their outcome, without settling anything.

        Raises StoreUnavailable.
        """
        await self._settler.recall(jobs)

    async def _run(self) -> None:
        while True:
            if not self._answered and not self._slices:
                if not self._open:
                    return
                self._work.clear()
                self._beat.rest()
                await self._work.wait()
                self._beat.well()
                continue
            await self._turn()
            self._beat.well()

    async def _turn(self) -> None:
        await self._gather()
        self._batch, slices = self._take()
        await self._settled(self._batch)
        self._batch = []
        for piece in slices:
            if not piece.finished.done():
                piece.finished.set_result(None)
            piece.let_go()

    async def _gather(self) -> None:
        """Let those in whose commands are on their way here, as long as they come.

        Callers who got their answers from one batch ask again at about the same time. Whoever is first would
        have a batch alone, and a batch costs more than a command.
        """
        for _ in range(_LOOKS):
            waiting = len(self._answered)
            if waiting >= self._crowd:
                break
            for _ in range(_WAY_IN):
                await asyncio.sleep(0)
            if len(self._answered) == waiting:
                break

    def _take(self) -> tuple[list[Job], list[Slice]]:
        """Take a batch: answered commands first, but durable ones have half of it when both wait."""
        answered = min(len(self._answered), self._batch_size // 2 or 1 if self._slices else self._batch_size)
        jobs = [self._pop() for _ in range(answered)]
        self._crowd = max(answered, self._crowd // 2)
        slices: list[Slice] = []
        while self._slices and (not slices or len(jobs) + len(self._slices[0].jobs) <= self._batch_size):
            piece = self._slices.popleft()
            if piece.finished.done():
                continue  # whoever waited for it has gone
            slices.append(piece)
            jobs.extend(piece.jobs)
        return jobs, slices

    def _pop(self) -> Job:
        job = self._answered.popleft()
        assert job.request is not None
        self._bytes -= job.request.size
        return job

    async def _settled(self, jobs: list[Job]) -> None:
        pause = _FIRST_PAUSE
        while jobs:
            try:
                head = await self._settler.settle(jobs)
            except Fenced as error:
                _fence(jobs, error)
            except Exception as error:  # noqa: BLE001 nothing may end this loop
                self._meet_outage(error, len(jobs))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(pause * 2, _LONGEST_PAUSE)
                self._give_up_unsent(jobs)
            else:
                self._recovered()
                if head is not None:
                    self._committed(head)
                return
            # What is settled stays: its partition's row may not say so yet.
            jobs = [job for job in jobs if not _is_fenced(job)]

    def _meet_outage(self, error: Exception, commands: int) -> None:
        self._metrics.outage()
        if not is_outage(error):
            log.error("batch failed", commands=commands, exc_info=error)
        elif not self._outage:
            log.warning("commands wait for the database", error=repr(error), commands=commands)
        self._outage = True

    def _recovered(self) -> None:
        if self._outage:
            log.info("commands go on")
        self._outage = False

    def _give_up_unsent(self, jobs: list[Job]) -> None:
        now = asyncio.get_running_loop().time()
        for job in jobs:
            if job.origin is None and not job.settled and not job.sent and job.deadline <= now:
                self._refuse(job, self._too_late())

    def _expire_at(self, deadline: float) -> None:
        self._expiry = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Refuse what has waited too long; the oldest stands first."""
        self._expiry = None
        now = asyncio.get_running_loop().time()
        while self._answered and self._answered[0].deadline <= now:
            self._refuse(self._pop(), self._too_late())
        if self._answered:
            self._expire_at(self._answered[0].deadline)

    def _too_late(self) -> Refusal:
        return Unavailable("The command could not be written in time; nothing was done.", retry_after=1)

    def _overload(self) -> Refusal:
        if self._outage:
            return Unavailable("The database is down; nothing was done.", retry_after=1)
        return RateLimited("Too many commands wait here; nothing was done.", retry_after=1)

    def _refuse(self, job: Job, refusal: Refusal) -> None:
        request = job.request
        assert request is not None
        reply = refused(request.command_id, request.tenant_id, refusal)
        self._metrics.refused(reply)
        job.settle(reply)


async def awaited(submit: Callable[[Request, Callable[[Reply], None]], None], request: Request) -> Reply:
    """Return the outcome of a command of the HTTP edge that goes the way of `submit`."""
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def answered(outcome: Reply) -> None:
        if not reply.done():
            reply.set_result(outcome)

    done: Callable[[Reply], None] = answered
    if tracing.on:
        request, done = followed(request, done, "http")
    submit(request, done)
    return await reply


def _fence(jobs: list[Job], error: Fenced) -> None:
    """Hand all slices of a batch back: whose partition was lost is for their owner to find out."""
    for job in jobs:
        if job.slice is not None and not job.slice.finished.done():
            job.slice.finished.set_exception(error)


def _is_fenced(job: Job) -> bool:
    return job.slice is not None and job.slice.finished.done()
