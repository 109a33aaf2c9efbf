"""Commands as a fleet sends them: to tenants that no cache knows, sealed, beside all roles."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count, cycle
from typing import Any
from uuid import UUID

import psycopg

from handlers.client import Request, TenantClient
from handlers.http_edge.tokens import OPERATOR, Signer
from tests.benchmarks import drain, echo
from tests.benchmarks.calling import Calls, Edge
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import LAZY, Service, connection, everything, provisioned, servers, service, until
from tests.benchmarks.table import Row, Sample, Side, compare

COMMANDS = 200
CALLERS = 64
FLEET = 1_000
DRAINED = 80_000
WORKERS = 2
METADATA = {"contact": "Ada Lovelace, +44 20 7946 0000", "note": "calls back on Mondays"}

ALL = ("sagas", "projections", "relay", "http")
"""The roles of the process that `tenantctl dev` runs beside its workers."""

REFERENCE = "a commit + a NATS request"


async def cold(rounds: int) -> Row:
    """Compare a command to a tenant that no cache knows with a commit and a request."""
    row = Row("lone command, cold, p50", "ms", "≤ 2.5", REFERENCE)
    return await _lone(row, rounds, [("relay",)], COMMANDS, {"name": "Acme"})


async def sealed(rounds: int) -> Row:
    """Compare a command with sealed fields to a tenant that is known with a commit and a request."""
    row = Row("lone command, sealed, p50", "ms", "≤ 1.7", REFERENCE)
    return await _lone(row, rounds, [("relay",)], 1, {"metadata": METADATA})


async def sealed_cold(rounds: int) -> Row:
    """Compare the first command with sealed fields, for which the tenant's key is made, with the same."""
    row = Row("lone command, sealed and cold, p50", "ms", "–", REFERENCE)
    return await _lone(row, rounds, [("relay",)], COMMANDS, {"metadata": METADATA})


async def all_roles(rounds: int) -> Row:
    """Compare a command to a known tenant, with all roles at work beside it, with a commit and a request."""
    row = Row("lone command, all roles running, p50", "ms", "–", REFERENCE)
    return await _lone(row, rounds, [ALL], 1, {"name": "Acme"})


async def _lone(
    row: Row, rounds: int, beside: Sequence[tuple[str, ...]], fresh: int, fields: dict[str, Any]
) -> Row:
    """Time commands one after another, over `fresh` tenants that are new in each round."""
    async with (
        servers() as stack,
        service(stack.endpoints, [("commands",), *beside]) as running,
        connection(stack.endpoints) as nc,
        echo.responder(stack.endpoints.nats_url),
        await psycopg.AsyncConnection.connect(stack.endpoints.postgres_url, autocommit=True) as database,
    ):
        await database.execute("CREATE TABLE bench_commit (id bigint PRIMARY KEY, body text)")
        client, numbers = TenantClient(nc), count()

        async def commit_and_request() -> None:
            insert = "INSERT INTO bench_commit VALUES (%s, %s)"
            await database.execute(insert, (next(numbers), "Acme"), prepare=True)
            await nc.request(echo.SUBJECT, b"Acme", timeout=30)

        async def ours() -> Sample:
            tenants = cycle(await provisioned(stack.endpoints.postgres_url, fresh))

            async def command() -> None:
                await client.update_profile(next(tenants), **_changed(fields, next(numbers)))

            if fresh == 1:
                await command()
            return await Calls(COMMANDS, 1).timed([command], running.pids)

        async def theirs() -> Sample:
            return await Calls(COMMANDS, 1).timed([commit_and_request], running.pids)

        return await compare(row, ours, theirs, rounds)


def _changed(fields: dict[str, Any], number: int) -> dict[str, Any]:
    """Return fields that change something: each command has others."""
    if "name" in fields:
        return {"name": f"{fields['name']} {number}"}
    return {"metadata": {**fields["metadata"], "number": str(number)}}


async def two_workers(door: str, callers: int, rounds: int) -> Row:
    """Compare two worker processes with one, on servers of their own, all roles running beside them."""
    what = f"{door}, {callers} caller{'s' if callers > 1 else ''}, 2 workers against 1, p50"
    row = Row(what, "ms", "≤ 1.1", "1 worker")
    async with _calling(2, door, callers) as two, _calling(1, door, callers) as one:
        return await compare(row, two, one, rounds)


TWO_WORKERS: dict[str, Callable[[int], Awaitable[Row]]] = {
    f"two_workers_{name}_{callers}": partial(two_workers, door, callers)
    for name, door in (("nats", "answered door"), ("http", "HTTP"))
    for callers in (1, CALLERS)
}


@asynccontextmanager
async def _calling(workers: int, door: str, callers: int) -> AsyncGenerator[Side]:
    roles = [ALL, *([("commands",)] * workers)]
    async with AsyncExitStack() as held:
        stack = await held.enter_async_context(servers())
        running = await held.enter_async_context(service(stack.endpoints, roles))
        nc = await held.enter_async_context(connection(stack.endpoints))
        log = await psycopg.AsyncConnection.connect(stack.endpoints.postgres_url, autocommit=True)
        await held.enter_async_context(log)
        await until(lambda: drain.shared(log, workers), 0.1)
        tenants = await provisioned(stack.endpoints.postgres_url, callers)
        client, numbers = TenantClient(nc), count()

        async def over_nats(tenant: UUID) -> None:
            await client.update_profile(tenant, name=f"Acme {next(numbers)}")

        async def once() -> Sample:
            number = max(COMMANDS, 10 * callers)
            if door != "HTTP":
                calls = [partial(over_nats, tenant) for tenant in tenants]
                return await Calls(number, callers).timed(calls, running.pids)
            token = Signer.from_file(running.keys / "signing.pem").sign(user="bench", role=OPERATOR)
            async with AsyncExitStack() as connected:  # anew in each round: the edge closes idle ones
                edges = [await connected.enter_async_context(Edge.on(running.http, token)) for _ in tenants]
                calls = [edge.renaming(each, numbers) for edge, each in zip(edges, tenants, strict=True)]
                return await Calls(number, callers).timed(calls, running.pids)

        yield once


async def strangers_drain(rounds: int) -> Row:
    """Compare commands a second, from the stream to the events' stream, as a stranger measures it.

    All of `tenantctl dev` runs, on a lazy server. The fields are sealed, and no cache knows the tenants.
    """
    row = Row("drained: sealed, 1,000 new tenants, all roles", "/s", "≥ 0.5", "bare loop, lazy server")
    async with _fleet() as ours, drain.bare() as theirs:
        return await compare(row, ours, theirs, rounds)


@asynccontextmanager
async def _fleet() -> AsyncGenerator[Side]:
    roles = [ALL, *([("commands",)] * WORKERS)]
    async with (
        servers(LAZY) as stack,
        service(stack.endpoints, roles, **drain.HELD) as running,
        connection(stack.endpoints) as nc,
        await psycopg.AsyncConnection.connect(stack.endpoints.postgres_url, autocommit=True) as log,
    ):
        await until(lambda: drain.shared(log, WORKERS), 0.1)
        goal = 0

        async def once() -> Sample:
            nonlocal goal
            tenants = await provisioned(stack.endpoints.postgres_url, FLEET)
            goal += 2 * FLEET
            await until(lambda: drain.published(nc, log, goal))
            with drain.frozen([process.pid for process in running.processes[1:]]):
                await _fill(TenantClient(nc), tenants)
            goal += DRAINED
            return await _drained(running, lambda: drain.published(nc, log, goal))

        yield once


async def _fill(client: TenantClient, tenants: Sequence[UUID]) -> None:
    sent = await client.send_many(
        Request(tenants[number % FLEET], "update_profile", _changed({"metadata": METADATA}, number))
        for number in range(DRAINED)
    )
    assert all(each.error is None for each in sent)


async def _drained(running: Service, done: Callable[[], Any]) -> Sample:
    with measured(everything(running.pids)) as usage:
        await until(done)
    return Sample(DRAINED / usage.wall, usage.cpu / DRAINED, usage.foreign)
