"""A suspension closes every door of a tenant, a resumption opens them all, for many tenants at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID, uuid4

import httpx
import nats
import psycopg
import pytest
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from handlers.adapters.keys import load_master_key
from handlers.client import Outcome, TenantClient
from handlers.http_edge.tokens import Signer
from tests.journeys.conftest import Running
from tests.support.doors import DOORS, Doors
from tests.support.waiting import PATIENCE, within

MANY = 24


@pytest.fixture
async def nc(service: Running) -> AsyncGenerator[Client]:
    connected = await nats.connect(service.at.nats)
    yield connected
    await connected.close()


@pytest.fixture
async def houses(service: Running, tenants: TenantClient, nc: Client) -> AsyncGenerator[tuple[Doors, Doors]]:
    """The doors of many tenants, and those of one that nobody suspends."""
    ids = [uuid4() for _ in range(MANY + 1)]
    admin = {"email": "ada@acme.example", "name": "Ada", "user_id": "usr_ada"}
    made = await asyncio.gather(
        *(
            tenants.provision(tenant_id=each, name="Acme", subdomain=f"d-{each.hex}", admin=admin)
            for each in ids
        )
    )
    await succeeded(made)
    keys = service.data_dir / "keys"
    key, signer = load_master_key(keys / "master.key", create=False), Signer.from_file(keys / "signing.pem")
    async with httpx.AsyncClient(base_url=service.at.http, timeout=PATIENCE) as http:

        def doors_of(*own: UUID) -> Doors:
            return Doors(own, postgres_url=service.at.postgres, http=http, nc=nc, key=key, signer=signer)

        yield doors_of(*ids[1:]), doors_of(ids[0])


async def succeeded(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        operation = await outcome.operation(timeout=PATIENCE)
        assert operation is not None
        assert operation.status == "succeeded"


async def test_a_suspension_closes_every_door_and_a_resumption_opens_them_for_many_tenants_at_once(
    houses: tuple[Doors, Doors], tenants: TenantClient
):
    doors, other = houses
    async with doors.sessions(), other.sessions():
        suspended = await asyncio.gather(
            *(tenants.suspend(each, reason="Invoice 7 is unpaid.") for each in doors.tenants)
        )
        closed = await doors.seen(closed=True)
        assert closed.keys() == {(door, tenant) for door in DOORS for tenant in doors.tenants}
        assert await other.with_sessions() == set(other.tenants)
        await other.seen(closed=False)
    await succeeded(suspended)
    for tenant in doors.tenants:
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            await doors.log_in(tenant)

    resumed = await asyncio.gather(*(tenants.resume(each) for each in doors.tenants))
    opened = await doors.seen(closed=False)
    assert opened.keys() == {(door, each) for door in DOORS if door != "sessions" for each in doors.tenants}
    await succeeded(resumed)
    async with doors.sessions():
        assert await doors.with_sessions() == set(doors.tenants)


async def test_of_a_tenant_that_is_deleted_the_live_context_keeps_the_status_alone(
    nc: Client, tenants: TenantClient
):
    tenant, label = uuid4(), f"d-{uuid4().hex[:12]}"
    admin = {"email": "ada@acme.example", "name": "Ada"}
    await succeeded([await tenants.provision(tenant_id=tenant, name="Acme", subdomain=label, admin=admin)])
    bucket = await nc.jetstream(timeout=PATIENCE).key_value("TENANT_CONTEXT")
    member = f"{tenant}.member.usr_ada"
    await bucket.put(member, b"{}")
    assert (await entry(bucket, tenant))["plan"] == "basic"
    await succeeded([await tenants.terminate(tenant, confirm_subdomain=label, retain_days=0)])
    async with within("the entry of a deleted tenant"):
        while (last := await entry(bucket, tenant)).get("status") != "deleted":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert last.keys() == {"tenant_id", "status", "version", "position"}
    with pytest.raises(KeyNotFoundError):
        await bucket.get(member)
    certificate = (await tenants.query(tenant, "certificate"))["document"]["certificate"]
    entries = next(each for each in certificate["stores"] if each["what"] == "entries of the live context")
    assert entries["verified"]
    assert entries["count"] >= 1


async def entry(bucket: KeyValue, tenant: UUID) -> dict[str, Any]:
    """Return the entry of a tenant; empty for the moment between its purge and its status."""
    try:
        return json.loads((await bucket.get(str(tenant))).value or b"{}")
    except KeyNotFoundError:
        return {}
