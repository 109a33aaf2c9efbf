"""The way of commands in a process without a bus door, and owners that a test makes up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import nats
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from handlers.bus.routing.forwarding import Forwarder
from handlers.bus.routing.owners import HINT, Owners
from handlers.execution.decode import Request
from handlers.execution.executor import Executor
from handlers.execution.job import Job, Slice
from handlers.execution.metrics import CommandMetrics
from handlers.execution.reply import Reply, refused
from handlers.store.event_store import EventStore
from tenant_domain.refusals import RateLimited
from tests.handlers.bus.commands.service import quiet
from tests.handlers.execution.commands import executor_on
from tests.support.bus import Bus
from tests.support.waiting import until, within


class Recording(Executor):
    """An executor that remembers what it was given to decide; the first `busy` of that are too much for
    it. `durable` are the tenants of commands that it settled out of the stream."""

    seen: list[Request]
    busy: int
    durable: list[UUID]

    async def settle(self, partition: int, owner: UUID, sequence: int, jobs: list[Job]) -> Slice:
        self.durable += [job.request.tenant_id for job in jobs if job.request is not None]
        return await super().settle(partition, owner, sequence, jobs)

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        self.seen.append(request)
        if len(self.seen) > self.busy:
            super().submit(request, done)
        else:
            done(
                refused(
                    request.command_id, request.tenant_id, RateLimited("Nothing was done.", retry_after=1)
                )
            )


def recording(executor: Executor, busy: int = 0) -> list[Request]:
    """Have an executor remember what it is given to decide from now on; return that."""
    executor.__class__ = Recording
    assert isinstance(executor, Recording)
    executor.seen, executor.busy, executor.durable = [], busy, []
    return executor.seen


def recorded(executor: Executor) -> list[UUID]:
    """Return the tenants of the commands that an executor settles out of the stream from now on."""
    recording(executor)
    assert isinstance(executor, Recording)
    return executor.durable


class Door:
    """A process that has commands and no partitions, as one with the HTTP edge alone."""

    def __init__(
        self, nc: Client, forwarder: Forwarder, executor: Executor, registry: CollectorRegistry, busy: int
    ) -> None:
        self.nc = nc
        self._registry = registry
        self.forwarder = forwarder
        self.here = recording(executor, busy)

    def forwarded(self, decided_by: str) -> float | None:
        """Return how many of the commands that were sent away `owner` or `sender` decided in the end."""
        return self._registry.get_sample_value("tenants_commands_forwarded_total", {"decided_by": decided_by})

    async def execute(self, request: Request) -> Reply:
        """Have a command settled; whatever its owner does, the reply comes in time."""
        async with within("a reply by the door"):
            return await self.forwarder.execute(request)


@asynccontextmanager
async def door_on(
    nats_url: str,
    store: EventStore,
    bus: Bus,
    *,
    owner: UUID | None = None,
    me: UUID | None = None,
    busy: int = 0,
    **times: Any,
) -> AsyncGenerator[Door]:
    """Run a door on names of the bus; with `owner` it believes that all partitions are that one's."""
    nc = await nats.connect(
        nats_url,
        reconnect_time_wait=0.05,  # pyright: ignore[reportArgumentType] - seconds, also parts of one
        max_reconnect_attempts=-1,
        error_cb=quiet,
    )

    async def believed() -> list[UUID | None]:
        return [owner] * 8

    executor, registry = executor_on(store), CollectorRegistry()
    owners = Owners(lambda: nc, bus.subjects.hint(HINT), believed if owner else store.partition_owners.read)
    forwarder = Forwarder(
        lambda: nc, bus.subjects, owners, executor, CommandMetrics(registry), me=me, **times
    )
    await executor.start()
    await owners.start()
    await forwarder.start()
    try:
        await until(lambda: _all_owned(owners))
        yield Door(nc, forwarder, executor, registry, busy)
    finally:
        await forwarder.stop(grace=0.0)
        await owners.stop()
        await executor.stop()
        await nc.close()


async def _all_owned(owners: Owners) -> bool:
    return bool(owners.all) and None not in owners.all
