"""Provisionings through the whole service, beside the commits that six recorded steps cannot do without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

from psycopg_pool import AsyncConnectionPool

from handlers.client import TenantClient
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import connection, everything, servers, service
from tests.benchmarks.table import Row, Sample, compare

AT_ONCE = 32
SAGAS = 320
STEPS = 6
OPERATION_TIMEOUT = 120.0

TABLES = """
CREATE TABLE bench_effects (saga uuid, step int, body text, PRIMARY KEY (saga, step));
CREATE TABLE bench_steps (saga uuid, step int, status text, at timestamptz DEFAULT now(),
    PRIMARY KEY (saga, step))"""


async def provisioning(rounds: int) -> Row:
    """Compare sagas a second, from the command to the operation's end; ours also makes a schema for each."""
    row = Row(
        f"provisionings, {AT_ONCE} at once", "/s", "(none; vs peers)", f"{STEPS} × (INSERT + record), psycopg"
    )
    async with (
        servers() as stack,
        service(stack.endpoints, [("sagas", "projections", "relay"), ("commands",)]) as running,
        connection(stack.endpoints) as nc,
        AsyncConnectionPool(
            stack.endpoints.postgres_url, min_size=8, max_size=8, open=False, kwargs={"autocommit": True}
        ) as pool,
    ):
        client = TenantClient(nc)
        async with pool.connection() as database:
            await database.execute(TABLES)

        async def provision() -> None:
            tenant = uuid4()
            outcome = await client.provision(
                tenant_id=tenant,
                name="Acme",
                subdomain=f"t-{tenant.hex}",
                admin={"email": "ada@example.com", "name": "Ada"},
            )
            operation = await outcome.operation(OPERATION_TIMEOUT)
            assert operation is not None
            assert operation.status == "succeeded", operation

        async def floor() -> None:
            saga = uuid4()
            for step in range(STEPS):
                async with pool.connection() as database, database.transaction():
                    await database.execute(
                        "INSERT INTO bench_effects VALUES (%s, %s, %s)", (saga, step, "Acme"), prepare=True
                    )
                    await database.execute(
                        "INSERT INTO bench_steps VALUES (%s, %s, %s)", (saga, step, "done"), prepare=True
                    )

        async def ours() -> Sample:
            return await _many(provision, running.pids)

        async def theirs() -> Sample:
            return await _many(floor, running.pids)

        return await compare(row, ours, theirs, rounds)


async def _many(one: Callable[[], Awaitable[None]], pids: list[int]) -> Sample:
    async def lane() -> None:
        for _ in range(SAGAS // AT_ONCE):
            await one()

    with measured(everything(pids)) as usage:
        await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    return Sample(SAGAS / usage.wall, usage.cpu / SAGAS, usage.foreign)
