"""Latencies: a lone command beside what it needs, a query beside an echo, visibility beside the library's."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import count
from uuid import UUID

import msgspec
import psycopg
from eventsourcing.projection import ProjectionRunner
from nats.aio.client import Client

from handlers.client import TenantClient
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, encoded
from handlers.wire.subjects import Subjects
from tenant_domain.tenant.events import ProfileUpdated
from tests.benchmarks import echo, stock
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import connection, everything, provisioned, servers, service
from tests.benchmarks.table import Row, Sample, compare

COMMANDS = 200
QUERIES = 5_000
IN_FLIGHT = 16
"""Queries at once: a load that neither side's single process is overrun by."""


async def lone_command(rounds: int) -> Row:
    """Compare the p50 of commands one after another with a commit and a request, one after another."""
    row = Row("lone command, p50", "ms", "≤ 1.5", "a commit + a NATS request")
    async with (
        servers() as stack,
        service(stack.endpoints, [("commands",), ("relay",)]) as running,
        connection(stack.endpoints) as nc,
        echo.responder(stack.endpoints.nats_url),
        await psycopg.AsyncConnection.connect(stack.endpoints.postgres_url, autocommit=True) as database,
    ):
        [tenant] = await provisioned(stack.endpoints.postgres_url, 1)
        await database.execute("CREATE TABLE bench_commit (id bigint PRIMARY KEY, body text)")
        client, numbers = TenantClient(nc), count()

        async def command() -> None:
            await client.update_profile(tenant, name=f"Acme {next(numbers)}")

        async def commit_and_request() -> None:
            number = next(numbers)
            await database.execute("INSERT INTO bench_commit VALUES (%s, %s)", (number, "Acme"), prepare=True)
            await nc.request(echo.SUBJECT, b"Acme", timeout=30)

        async def ours() -> Sample:
            return await _median(command, running.pids)

        async def theirs() -> Sample:
            return await _median(commit_and_request, running.pids)

        return await compare(row, ours, theirs, rounds)


async def _median(call: Callable[[], Awaitable[None]], pids: list[int]) -> Sample:
    return await _median_of(lambda: _timed(call), pids)


async def _median_of(timed: Callable[[], Awaitable[float]], pids: list[int]) -> Sample:
    with measured(everything(pids)) as usage:
        times = [await timed() for _ in range(COMMANDS)]
    return Sample(statistics.median(times), None, usage.foreign)


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    """Return the milliseconds of a call."""
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


async def query(rounds: int) -> Row:
    """Compare the p99 of the query `tenant` with that of an echo, both with as many in flight."""
    row = Row(f"query over NATS, p99, {IN_FLIGHT} in flight", "ms", "≤ 1.3", "bare echo")
    async with (
        servers() as stack,
        service(stack.endpoints, [("projections",)]) as running,
        connection(stack.endpoints) as nc,
        echo.responder(stack.endpoints.nats_url),
    ):
        tenants = await provisioned(stack.endpoints.postgres_url, 500)
        client = TenantClient(nc)
        await client.tenant(tenants[-1], min_position=2 * len(tenants))
        answer = (await nc.request(Subjects().query(tenants[0], "tenant"), b"", timeout=30)).data
        assert msgspec.json.decode(answer)["tenant_id"] == str(tenants[0])
        subjects = [Subjects().query(tenant, "tenant") for tenant in tenants]

        async def ours() -> Sample:
            return await _loaded(nc, subjects, b"", running.pids)

        async def theirs() -> Sample:
            return await _loaded(nc, [echo.SUBJECT], answer, running.pids)

        return await compare(row, ours, theirs, rounds)


async def visible(rounds: int) -> Row:
    """Compare the p50 of the time from a commit until a query includes it with the library's read model.

    That one is asked again and again: its own `wait` looks ten times a second only.
    """
    row = Row("commit → visible to a query, p50", "ms", "(≤ 3 ms)", "eventsourcing ProjectionRunner")
    async with (
        servers() as stack,
        service(stack.endpoints, [("projections",)]) as running,
        connection(stack.endpoints) as nc,
        EventStore(stack.endpoints.postgres_url) as store,
    ):
        [tenant] = await provisioned(stack.endpoints.postgres_url, 1)
        client, versions = TenantClient(nc), count(3)

        async def ours() -> Sample:
            return await _median_of(lambda: _seen(store, nc, client, tenant, next(versions)), running.pids)

        with stock.running(stack.endpoints.postgres_url) as runner:

            async def theirs() -> Sample:
                return await _median_of(lambda: asyncio.to_thread(_stock_seen, runner), running.pids)

            return await compare(row, ours, theirs, rounds)


async def _seen(store: EventStore, nc: Client, client: TenantClient, tenant: UUID, version: int) -> float:
    """Append an event, hint as who commits does, and return the milliseconds until a query includes it."""
    renamed = ProfileUpdated(tenant_name=f"Acme {version}")
    row = EventRow(tenant, tenant, version, renamed.name, encoded(renamed, Meta()), 0)
    appended = await store.append(Batch(events=[row]))
    began = time.perf_counter()
    await nc.publish(Subjects().hint("committed"), b"%d" % appended.head)
    answer = await client.tenant(tenant, min_position=appended.head)
    took = (time.perf_counter() - began) * 1000
    assert answer.version == version
    return took


def _stock_seen(runner: ProjectionRunner[stock.Accounts, stock.Names]) -> float:
    [recording] = runner.app.save(stock.Account("Acme"))
    began = time.perf_counter()
    while not runner.projection.view.has_tracking_id(runner.app.name, recording.notification.id):
        pass
    return (time.perf_counter() - began) * 1000


async def _loaded(nc: Client, subjects: list[str], body: bytes, pids: list[int]) -> Sample:
    times: list[float] = []

    async def caller(first: int) -> None:
        for number in range(first, QUERIES, IN_FLIGHT):
            began = time.perf_counter()
            answer = await nc.request(subjects[number % len(subjects)], body, timeout=30)
            times.append((time.perf_counter() - began) * 1000)
            assert "Nats-Service-Error" not in (answer.headers or {})

    with measured(everything(pids)) as usage:
        await asyncio.gather(*(caller(first) for first in range(IN_FLIGHT)))
    return Sample(statistics.quantiles(times, n=100)[98], usage.cpu / QUERIES, usage.foreign)
