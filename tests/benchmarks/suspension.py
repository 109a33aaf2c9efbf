"""Suspensions: how long after its outcome each door of a tenant is closed, seen from outside."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeAlias
from uuid import UUID, uuid4

import httpx

from handlers.adapters.keys import load_master_key
from handlers.client import TenantClient
from handlers.http_edge.tokens import Signer
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import connection, everything, servers, service
from tests.benchmarks.table import Row, Sample, compare
from tests.support.doors import DOORS, Doors

CROWD = 100
LANES = 16
"""Commands in flight that make the load, one more provisioning beside each four."""

TIMEOUT = 120.0

_Make: TypeAlias = Callable[[int], Awaitable[Doors]]


async def lone(rounds: int) -> Row:
    """Tell how long one tenant's last door stays open."""
    return await _measured("1 tenant", rounds, tenants=1, lanes=0)


async def under_load(rounds: int) -> Row:
    """The same while others are provisioned and changed, as many at a time as the service does."""
    return await _measured(
        f"1 tenant under load ({LANES} commands in flight)", rounds, tenants=1, lanes=LANES
    )


async def crowd(rounds: int) -> Row:
    """The same for a hundred tenants that are suspended at once: the last door of them all."""
    return await _measured(f"{CROWD} tenants at once", rounds, tenants=CROWD, lanes=0)


async def _measured(who: str, rounds: int, *, tenants: int, lanes: int) -> Row:
    row = Row("", "s", "≤ 1", "1 s")
    times: dict[str, list[float]] = {door: [] for door in DOORS}
    async with _stage() as (doors_of, client, pids), _load(client, lanes):
        doors = await doors_of(tenants)

        async def ours() -> Sample:
            async with doors.sessions():
                with measured(pids) as usage:
                    took = await _suspended(client, doors)
            for door, seconds in took.items():
                times[door] += seconds
            await _resumed(client, doors)
            return Sample(max(map(max, took.values())), usage.cpu / tenants, usage.foreign)

        async def theirs() -> Sample:
            return Sample(1.0)

        await compare(row, ours, theirs, rounds)
    parts = (f"{door} {statistics.median(each):.3f}/{max(each):.3f}" for door, each in times.items())
    row.what = f"suspend, {who}: outcome → last door closed ({', '.join(parts)} p50/max)"
    return row


async def _suspended(client: TenantClient, doors: Doors) -> dict[str, list[float]]:
    """Suspend all tenants, and return by door the seconds from each one's outcome until it was closed."""
    watching = asyncio.create_task(doors.seen(closed=True))
    await asyncio.sleep(0.2)  # all watchers are at work
    outcomes: dict[UUID, float] = {}

    async def suspend(tenant: UUID) -> None:
        await client.suspend(tenant, reason="Invoice 7 is unpaid.")
        outcomes[tenant] = time.perf_counter()

    await asyncio.gather(*map(suspend, doors.tenants))
    seen = await watching
    return {door: [max(0.0, seen[door, each] - outcomes[each]) for each in doors.tenants] for door in DOORS}


async def _resumed(client: TenantClient, doors: Doors) -> None:
    async def resume(tenant: UUID) -> None:
        await _idle(client, tenant)
        await (await client.resume(tenant)).operation(TIMEOUT)

    await asyncio.gather(*map(resume, doors.tenants))


async def _idle(client: TenantClient, tenant: UUID) -> None:
    while (await client.tenant(tenant)).operation_id is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _stage() -> AsyncGenerator[tuple[_Make, TenantClient, Sequence[int]]]:
    roles = [("commands",), ("sagas", "projections", "relay", "http")]
    async with (
        servers() as stack,
        service(stack.endpoints, roles) as running,
        connection(stack.endpoints) as nc,
        httpx.AsyncClient(base_url=running.http, timeout=30) as http,
    ):
        client = TenantClient(nc, timeout=30)

        async def doors_of(number: int) -> Doors:
            ids = [uuid4() for _ in range(number)]
            await asyncio.gather(*(_provision(client, each) for each in ids))
            key = load_master_key(running.keys / "master.key", create=False)
            signer = Signer.from_file(running.keys / "signing.pem")
            url = stack.endpoints.postgres_url
            return Doors(ids, postgres_url=url, http=http, nc=nc, key=key, signer=signer)

        yield doors_of, client, everything(running.pids)


@asynccontextmanager
async def _load(client: TenantClient, lanes: int) -> AsyncGenerator[None]:
    """Keep as many commands in flight, and a provisioning for each four of them."""
    numbers = count()

    async def change() -> None:
        tenant = uuid4()
        await _provision(client, tenant)
        while True:
            await client.update_profile(tenant, name=f"Acme {next(numbers)}")

    async def provision() -> None:
        while True:
            await _provision(client, uuid4())

    working = [asyncio.create_task(change()) for _ in range(lanes)]
    working += [asyncio.create_task(provision()) for _ in range(lanes // 4)]
    try:
        yield
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _provision(client: TenantClient, tenant: UUID) -> None:
    admin = {"email": "ada@example.com", "name": "Ada", "user_id": "usr_ada"}
    outcome = await client.provision(tenant_id=tenant, name="Acme", subdomain=f"t-{tenant.hex}", admin=admin)
    operation = await outcome.operation(TIMEOUT)
    assert operation is not None
    assert operation.status == "succeeded", operation
