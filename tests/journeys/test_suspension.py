"""A suspension closes every door of a tenant, a resumption opens them all, for many tenants at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import httpx
import nats
import psycopg
import pytest

from handlers.adapters.keys import load_master_key
from handlers.client import Outcome, TenantClient
from handlers.http_edge.tokens import Signer
from tests.journeys.conftest import Running
from tests.support.doors import DOORS, Doors

MANY = 24


@pytest.fixture
async def doors(service: Running, tenants: TenantClient) -> AsyncGenerator[Doors]:
    ids = [uuid4() for _ in range(MANY)]
    admin = {"email": "ada@acme.example", "name": "Ada", "user_id": "usr_ada"}
    made = await asyncio.gather(
        *(
            tenants.provision(tenant_id=each, name="Acme", subdomain=f"d-{each.hex}", admin=admin)
            for each in ids
        )
    )
    await succeeded(made)
    keys = service.data_dir / "keys"
    nc = await nats.connect(service.at.nats)
    async with httpx.AsyncClient(base_url=service.at.http, timeout=30) as http:
        yield Doors(
            ids,
            postgres_url=service.at.postgres,
            http=http,
            nc=nc,
            key=load_master_key(keys / "master.key", create=False),
            signer=Signer.from_file(keys / "signing.pem"),
        )
    await nc.close()


async def succeeded(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        operation = await outcome.operation(timeout=60)
        assert operation is not None
        assert operation.status == "succeeded"


async def test_a_suspension_closes_every_door_and_a_resumption_opens_them_for_many_tenants_at_once(
    doors: Doors, tenants: TenantClient
):
    async with doors.sessions():
        suspended = await asyncio.gather(
            *(tenants.suspend(each, reason="Invoice 7 is unpaid.") for each in doors.tenants)
        )
        closed = await doors.seen(closed=True)
        assert closed.keys() == {(door, tenant) for door in DOORS for tenant in doors.tenants}
    await succeeded(suspended)
    for tenant in doors.tenants:
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            await doors.log_in(tenant)

    resumed = await asyncio.gather(*(tenants.resume(each) for each in doors.tenants))
    opened = await doors.seen(closed=False)
    assert opened.keys() == {(door, each) for door in DOORS if door != "sessions" for each in doors.tenants}
    await succeeded(resumed)
    async with doors.sessions():
        assert {await doors.status_over_http(tenant) for tenant in doors.tenants} == {200}


async def test_the_doors_of_other_tenants_stay_open(doors: Doors, tenants: TenantClient):
    closed, *others = doors.tenants
    async with doors.sessions():
        await succeeded([await tenants.suspend(closed, reason="Invoice 7 is unpaid.")])
        assert await doors.with_sessions() == set(others)
        assert {await doors.status_over_http(tenant) for tenant in others} == {200}
