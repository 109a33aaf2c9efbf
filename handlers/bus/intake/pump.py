"""One partition's loop: read, decode, settle, in order; from wherever the partition's row says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple

import nats.errors
import psycopg
import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.command_places import Place, compared
from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.tasks import watched
from handlers.bus.intake.claims import Claims
from handlers.bus.intake.feed import Feed, FeedLost
from handlers.bus.intake.messages import FAILED, job_of, not_known
from handlers.bus.replies import Replies
from handlers.execution.executor import Executor
from handlers.execution.job import Job, Slice
from handlers.execution.reply import refused
from handlers.execution.versions import Outdated, Versions, fact_key
from handlers.store.errors import Fenced, StoreError
from handlers.wire.events import UnknownEvent
from handlers.wire.subjects import Subjects
from tenant_domain.refusals import Unavailable

log = structlog.get_logger()

_PASSING = (JetStreamError, nats.errors.Error, psycopg.Error, StoreError, OSError, TimeoutError)


class Door(NamedTuple):
    """What all partitions of a process share.

    `slice_size` is the most commands of a partition in one batch, and as many partitions as `turns` lets in
    have one decoded at a time: enough for the next batches, without keeping everything else waiting.
    `window` and `max_bytes` are what is read ahead of it. `tries` is how often a command may fail for a
    technical reason, `pause` how many seconds its partition waits after the first failure; it doubles with
    each, up to `longest_pause`.
    """

    connection: Callable[[], Client]
    executor: Executor
    replies: Replies
    claims: Claims
    subjects: Subjects
    stream: str
    turns: asyncio.Semaphore
    slice_size: int
    window: int
    max_bytes: int
    tries: int
    pause: float
    longest_pause: float
    versions: Versions
    step_aside: Callable[[Outdated], None]


class Pump:
    """Reads one partition until it is stopped, or has been lost to another worker."""

    def __init__(self, door: Door, partition: int, place: Place) -> None:
        self._door = door
        self._partition = partition
        self._place = place
        self._feed: Feed | None = None
        self._stopping = False
        self._task = watched(self._run(), f"partition-{partition}")

    @property
    def ended(self) -> bool:
        """Whether the partition was lost."""
        return self._task.done()

    async def stop(self, grace: float) -> None:
        """End after what is being settled; in the middle of it when that takes longer than `grace`."""
        self._stopping = True
        self.reopen("stopping")
        await asyncio.wait([self._task], timeout=grace)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def reopen(self, reason: str) -> None:
        """Read the partition anew from where it is decided."""
        if self._feed is not None:
            self._feed.lose(reason)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                await self._read()
            except FeedLost as error:
                if not self._stopping:
                    log.debug("partition is read anew", partition=self._partition, reason=str(error))
                failures = 0
            except _Taken:
                log.info("partition is another worker's now", partition=self._partition)
                return
            except Outdated as newer:
                self._door.step_aside(newer)
                return
            except _PASSING as error:
                log.debug("partition waits", partition=self._partition, error=repr(error))
                failures += 1
            except Exception as error:
                log.exception(
                    "partition cannot be read", partition=self._partition, error=type(error).__name__
                )
                failures += 1
            await self._rest(failures)

    async def _read(self) -> None:
        door, nc = self._door, self._door.connection()
        came_back = nc.stats["reconnects"]
        subject = door.subjects.partition(self._partition)
        await self._locate(subject)
        feed = Feed(nc, door.stream, subject, window=door.window, max_bytes=door.max_bytes)
        self._feed = feed
        try:
            await feed.open(self._place.sequence)
            if not nc.is_connected or nc.stats["reconnects"] != came_back:
                raise FeedLost("the connection was lost: the stream may be another one than was looked at")
            while not self._stopping:
                await feed.ready()
                await self._next(feed)
        finally:
            self._feed = None
            await feed.close()

    async def _next(self, feed: Feed) -> None:
        door = self._door
        async with self._door.turns:
            jobs = [
                job_of(each, door.stream, door.subjects, door.replies)
                for each in await feed.take(door.slice_size)
            ]
            newer = await self._newer(jobs)
            if newer is not None:
                jobs = jobs[: newer.before]
            failed = await self._settle(jobs) if jobs else None
        while failed is not None:
            await self._meet(failed)
            jobs = [job for job in jobs if job.sequence > self._place.sequence]
            async with self._door.turns:
                failed = await self._settle(jobs)
        if newer is not None:
            raise Outdated(commands=newer.keys)

    async def _newer(self, jobs: list[Job]) -> _Newer | None:
        """Return the first command that only a newer worker knows, which is there to take it."""
        for before, job in enumerate(jobs):
            keys = not_known(job)
            if keys and await self._door.versions.who_knows(commands=keys) == "alive":
                return _Newer(before, keys)
        return None

    async def _locate(self, subject: str) -> None:
        """Make sure that the partition's sequence counts in the stream that is there now.

        Another stream, or one put back to an earlier state, is read from its beginning: nobody knows what
        of it is new, but the ledger knows what was decided.
        """
        nc = self._door.connection()
        info = await jetstream.stream_info(nc, self._door.stream)
        if info is None:
            raise JetStreamError("STREAM.INFO", jetstream.STREAM_NOT_FOUND, "the stream is not there")
        made, place = info["created"], self._place
        found = await compared(nc, info, subject, place)
        if found.wrong is None:
            place = Place(place.sequence, made, found.stored_at)
        else:
            log.error(
                "stream was made anew or put back: its partition is read from the beginning",
                partition=self._partition,
                why=found.wrong,
                decided=place.sequence,
                last=info["state"]["last_seq"],
                made=made,
                former=place.stream,
            )
            place = Place(0, made)
        if place != self._place:
            await self._move(place)

    async def _move(self, place: Place) -> None:
        if not await self._door.claims.move(self._partition, self._place, place):
            await self._refresh()
            raise FeedLost("the partition moved on")
        self._place = place

    async def _refresh(self) -> None:
        place = (await self._door.claims.places([self._partition])).get(self._partition)
        if place is None:
            raise _Taken
        self._place = place

    async def _settle(self, jobs: list[Job]) -> Slice | None:
        """Settle commands in order; return what was settled of them when one failed."""
        while True:
            try:
                piece = await self._door.executor.settle(
                    self._partition, self._door.claims.owner, self._place.sequence, jobs
                )
            except Fenced:  # this partition moved on, or another one of the same batch
                if await self._moved(jobs):
                    raise FeedLost("the partition moved on") from None
            else:
                if piece.sequence != self._place.sequence:
                    self._place = self._place._replace(sequence=piece.sequence, stored_at=piece.stored_at)
                return piece if piece.failed is not None else None

    async def _moved(self, jobs: list[Job]) -> bool:
        """Look where the partition is; what of `jobs` was committed without our hearing has an outcome."""
        former = self._place
        await self._refresh()
        passed = [job for job in jobs if job.sequence <= self._place.sequence and not job.settled]
        await self._door.executor.recall(passed)
        return self._place != former

    async def _meet(self, piece: Slice) -> None:
        """Wait before the command that failed is tried again, or give it up."""
        job, failure = piece.failed, piece.failure
        assert job is not None
        if isinstance(failure, UnknownEvent) and await self._is_newer(failure):
            job.tries = 0
            await asyncio.sleep(self._door.longest_pause)
            return
        job.tries += 1
        request = job.request
        if job.tries < self._door.tries or request is None:
            await self._rest(job.tries)
            return
        log.error(
            "command given up",
            tenant_id=str(request.tenant_id),
            command_id=str(request.command_id),
            command=request.command,
            tries=job.tries,
            error=type(failure).__name__,
        )
        why = f"The command failed {job.tries} times for a technical reason ({type(failure).__name__})."
        job.know(refused(request.command_id, request.tenant_id, Unavailable(why)), FAILED)

    async def _is_newer(self, failure: UnknownEvent) -> bool:
        """Return whether a newer version wrote the fact that is not known here; raises Outdated if it runs.

        A command of such a tenant waits until it does, for an older one cannot tell what is right.
        """
        fact = fact_key(failure.name, failure.version)
        who = await self._door.versions.who_knows(facts=[fact])
        if who == "alive":
            raise Outdated(facts=[fact])
        if who == "gone":
            log.error(
                "partition waits for a newer version, which wrote this fact",
                partition=self._partition,
                fact=fact,
            )
        return who == "gone"

    async def _rest(self, failures: int) -> None:
        if failures:
            pause = min(self._door.pause * 2 ** (failures - 1), self._door.longest_pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311


class _Newer(NamedTuple):
    """What a newer version knows of a command, and how many of the same slice stand before it."""

    before: int
    keys: list[str]


class _Taken(Exception):
    """Another worker holds the partition."""
