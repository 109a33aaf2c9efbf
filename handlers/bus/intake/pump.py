"""One partition's loop: read, decode, settle, in order; from wherever the partition's row says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from uuid import UUID

import nats.errors
import psycopg
import structlog
from nats.aio.client import Client

from handlers import tracing
from handlers.adapters import jetstream
from handlers.adapters.command_places import Place, compared
from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.tasks import watched
from handlers.bus.intake.claims import Claims
from handlers.bus.intake.feed import Delivery, Feed, FeedLost
from handlers.bus.replies import Replies
from handlers.execution.decode import command_id_of, decoded
from handlers.execution.executor import Executor
from handlers.execution.job import Job, Origin, Slice
from handlers.execution.reply import Reply, refused
from handlers.execution.spans import followed
from handlers.store.errors import Fenced, StoreError
from handlers.wire.headers import REPLY_TO
from handlers.wire.subjects import Subjects, is_inbox, is_tenant_id
from tenant_domain.refusals import Refusal, Unavailable

log = structlog.get_logger()

FAILED = "failed"
"""Why a command is a dead letter that failed for a technical reason until its tries were used up."""

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
        async with self._door.turns:
            jobs = [self._job(each) for each in await feed.take(self._door.slice_size)]
            failed = await self._settle(jobs)
        while failed is not None:
            await self._meet(failed)
            jobs = [job for job in jobs if job.sequence > self._place.sequence]
            async with self._door.turns:
                failed = await self._settle(jobs)

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

    def _job(self, delivery: Delivery) -> Job:
        message = delivery.message
        headers = message.headers or {}
        subject = self._door.subjects.door(message.subject)
        tenant, command = subject.split(".")[-2:]
        origin = Origin(
            stream=self._door.stream,
            sequence=delivery.sequence,
            stored_at=delivery.stored_at,
            tenant=tenant if is_tenant_id(tenant) else "unknown",
            subject=subject,
            headers=headers,
            body=message.data,
        )
        inbox = headers.get(REPLY_TO, "")
        done = partial(self._door.replies.send, inbox) if inbox and is_inbox(inbox) else _nobody_asked
        try:
            request = decoded(tenant, command, headers, message.data, durable=True, new_id=_no_id)
        except Refusal as refusal:
            return Job(done, reply=refused(command_id_of(headers), tenant, refusal), origin=origin)
        except Exception as error:
            log.exception("command cannot be decoded", sequence=delivery.sequence, error=type(error).__name__)
            why = Unavailable(f"The command cannot be decoded ({type(error).__name__}).")
            job = Job(done, origin=origin)
            job.know(refused(command_id_of(headers), tenant, why), FAILED)
            return job
        if tracing.on:
            request, done = followed(request, done, "durable")
        return Job(done, request=request, origin=origin)

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

    async def _rest(self, failures: int) -> None:
        if failures:
            pause = min(self._door.pause * 2 ** (failures - 1), self._door.longest_pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311


class _Taken(Exception):
    """Another worker holds the partition."""


def _nobody_asked(_reply: Reply) -> None: ...


def _no_id() -> UUID:
    raise AssertionError("a durable command without an id is refused")
