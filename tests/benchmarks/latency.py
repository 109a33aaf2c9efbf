"""Latencies: a lone command beside what it cannot do without, and a query beside an echo."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import count

import msgspec
import psycopg
from nats.aio.client import Client

from handlers.client import TenantClient
from handlers.wire.subjects import Subjects
from tests.benchmarks import echo
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
    with measured(everything(pids)) as usage:
        times = [await _timed(call) for _ in range(COMMANDS)]
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
