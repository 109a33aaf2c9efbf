"""Durable commands drained from a full stream: the service on a synced server, a bare loop on a lazy one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
from nats.aio.client import Client

from handlers.client import Request, TenantClient
from handlers.wire.subjects import Streams
from tests.benchmarks import bare_loop
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import (
    LAZY,
    Service,
    connection,
    everything,
    provisioned,
    servers,
    service,
    until,
)
from tests.benchmarks.table import Row, Sample, Side, compare

COMMANDS = 20_000
TENANTS = 2_000
WORKERS = 2

HELD = {"partition_lease": "60"}
"""Workers are frozen while the stream is filled: they must not lose their partitions by that."""


async def drain(rounds: int) -> Row:
    """Compare commands a second, from the stream to the events' stream."""
    row = Row("durable commands drained, 2 workers", "/s", "≥ 0.64", "bare loop, lazy server")
    async with _ours(WORKERS) as ours, bare() as theirs:
        return await compare(row, ours, theirs, rounds)


async def scaling(rounds: int) -> Row:
    """Compare two worker processes with one, each on servers of its own."""
    row = Row("the same, 2 workers against 1", "/s", "≥ 1.8", "1 worker")
    async with _ours(2) as two, _ours(1) as one:
        return await compare(row, two, one, rounds)


@asynccontextmanager
async def _ours(workers: int) -> AsyncGenerator[Side]:
    roles = [("relay",), *([("commands",)] * workers)]
    async with servers() as stack, service(stack.endpoints, roles, **HELD) as running:
        postgres_url = stack.endpoints.postgres_url
        tenants = await provisioned(postgres_url, TENANTS)
        async with (
            connection(stack.endpoints) as nc,
            await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as log,
        ):
            await until(lambda: shared(log, workers), 0.1)
            await until(lambda: published(nc, log, 2 * TENANTS))
            goal = 2 * TENANTS
            turn = 0

            async def once() -> Sample:
                nonlocal goal, turn
                turn += 1
                with frozen([process.pid for process in running.processes[1:]]):
                    await _fill(nc, tenants, turn)
                goal += COMMANDS
                return await _timed(running, nc, log, goal)

            yield once


async def _timed(running: Service, nc: Client, log: psycopg.AsyncConnection, goal: int) -> Sample:
    with measured(everything(running.pids)) as usage:
        await until(lambda: published(nc, log, goal))
    return Sample(COMMANDS / usage.wall, usage.cpu / COMMANDS, usage.foreign)


@contextlib.contextmanager
def frozen(pids: Sequence[int]) -> Generator[None]:
    """Have processes stand still inside."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _fill(nc: Client, tenants: Sequence[UUID], turn: int) -> None:
    client = TenantClient(nc)
    sent = await client.send_many(
        Request(tenants[count % TENANTS], "update_profile", {"name": f"Acme {turn} {count}"})
        for count in range(COMMANDS)
    )
    assert all(each.error is None for each in sent)


async def shared(log: psycopg.AsyncConnection, workers: int) -> bool:
    """Say whether every partition has an owner, and every worker some."""
    found = await log.execute(
        "SELECT count(DISTINCT owner), count(*) FILTER (WHERE owner IS NULL), count(*)"
        " FROM service.command_progress"
    )
    owners, free, partitions = await found.fetchone() or (0, 0, 0)
    return owners == workers and not free and partitions > 0


async def published(nc: Client, log: psycopg.AsyncConnection, goal: int) -> bool:
    """Say whether the log has come to `goal`, and the events' stream has all of it."""
    state = (await nc.jetstream().stream_info(Streams().events)).state
    if state.last_seq < goal:
        return False
    found = await log.execute("SELECT position FROM service.event_head")
    assert await found.fetchone() == (goal,), "something else was appended"
    return True


@asynccontextmanager
async def bare() -> AsyncGenerator[Side]:
    """Run the reference."""
    async with servers(LAZY) as stack, connection(stack.endpoints) as nc:
        endpoints = stack.endpoints
        await bare_loop.lay_out(nc, endpoints.postgres_url, WORKERS)
        async with _bare_workers(endpoints.nats_url, endpoints.postgres_url) as pids:
            goal = 0

            async def drained() -> bool:
                state = (await nc.jetstream().stream_info(bare_loop.EVENTS)).state
                return state.last_seq >= goal

            async def once() -> Sample:
                nonlocal goal
                goal += COMMANDS
                with frozen(pids):
                    await bare_loop.fill(nc, COMMANDS, TENANTS)
                with measured(everything([endpoints.nats_pid, endpoints.postgres_pid])) as usage:
                    await until(drained)
                return Sample(COMMANDS / usage.wall, usage.cpu / COMMANDS, usage.foreign)

            yield once


@asynccontextmanager
async def _bare_workers(nats_url: str, postgres_url: str) -> AsyncGenerator[list[int]]:
    command = (sys.executable, "-m", "tests.benchmarks.bare_loop", nats_url, postgres_url)
    workers = [
        await asyncio.create_subprocess_exec(*command, str(part), stdout=asyncio.subprocess.PIPE)
        for part in range(WORKERS)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert await worker.stdout.readline() == b"ready\n"
        yield [worker.pid for worker in workers]
    finally:
        for worker in workers:
            worker.terminate()
        await asyncio.gather(*(worker.wait() for worker in workers))
