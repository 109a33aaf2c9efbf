"""A tenant's life over the public doors, spoken to with plain nats-py and plain HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import httpx
import nats
import psycopg
from nats.aio.client import Client

from handlers.client import TenantClient
from tests.journeys.conftest import Running
from tests.support.edge import at
from tests.support.keys import same_but_sealed
from tests.support.waiting import PATIENCE, within


@asynccontextmanager
async def connected(service: Running) -> AsyncGenerator[Client]:
    nc = await nats.connect(service.at.nats)
    try:
        yield nc
    finally:
        await nc.close()


async def ask(nc: Client, subject: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    reply = await nc.request(subject, json.dumps(body).encode(), timeout=PATIENCE, headers=headers or None)
    return json.loads(reply.data)


async def ended(nc: Client, tenant_id: str, operation_id: str) -> dict[str, Any]:
    async with within("the end of the operation, over the bus"):
        while True:
            body = {"operation_id": operation_id}
            state = await ask(nc, f"tenants.queries.{tenant_id}.operation", body)
            if state.get("finished_at"):
                return state
            await asyncio.sleep(0.02)


async def ended_at(http: httpx.AsyncClient, location: str) -> dict[str, Any]:
    async with within("the end of the operation, over HTTP"):
        while True:
            state = (await http.get(location)).json()
            if state.get("finished_at"):
                return state
            await asyncio.sleep(0.02)


def wish(subdomain: str) -> dict[str, Any]:
    return {
        "name": "Journey Ltd",
        "subdomain": subdomain,
        "admin": {"email": "grace@journey.example", "name": "Grace Hopper", "user_id": "usr_grace"},
    }


async def test_a_tenant_asked_for_over_the_durable_door_comes_to_life(service: Running):
    tenant_id, command_id = str(uuid4()), str(uuid4())
    async with connected(service) as nc:
        inbox = nc.new_inbox()
        outcomes = await nc.subscribe(inbox)
        ack = await nc.jetstream(timeout=PATIENCE).publish(
            f"tenants.commands.{tenant_id}.provision",
            json.dumps(wish(f"j-{tenant_id[:8]}")).encode(),
            headers={"Command-Id": command_id, "Reply-To": inbox},
        )
        assert ack.stream == "TENANT_COMMANDS"
        outcome = json.loads((await outcomes.next_msg(timeout=PATIENCE)).data)
        assert (outcome["status"], outcome["command_id"], outcome["version"]) == ("completed", command_id, 1)
        operation = await ended(nc, tenant_id, outcome["operation_id"])
        assert operation["status"] == "succeeded"
        assert [step["name"] for step in operation["steps"]] == [
            *("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate")
        ]
        tenant = await ask(nc, f"tenants.queries.{tenant_id}.tenant", {})
        assert (tenant["status"], tenant["plan"], tenant["operation_id"]) == ("active", "basic", None)
        assert tenant["quotas"]["users"] == 25
        history = await ask(nc, f"tenants.queries.{tenant_id}.history", {"limit": 500})
        types = [fact["type"] for fact in history["items"]]
        assert types[0] == "tenant.provisioning_started"
        assert {"tenant.activated", "member.joined", "subdomain.claimed", "operation.succeeded"} <= set(types)
        before = await ask(nc, f"tenants.queries.{tenant_id}.as_of", {"version": 1})
        assert (before["status"], before["version"]) == ("provisioning", 1)
    async with await psycopg.AsyncConnection.connect(service.at.postgres) as connection:
        row = await (
            await connection.execute(
                "SELECT 1 FROM pg_roles WHERE rolname = %s", (f"t_{tenant_id.replace('-', '')}",)
            )
        ).fetchone()
        assert row == (1,)


async def test_every_event_stands_in_the_stream_at_its_position(service: Running):
    tenant_id = str(uuid4())
    async with connected(service) as nc:
        outcome = await ask(nc, f"tenants.rpc.{tenant_id}.provision", wish(f"s-{tenant_id[:8]}"))
        await ended(nc, tenant_id, outcome["operation_id"])
        history = await ask(nc, f"tenants.queries.{tenant_id}.history", {"limit": 500})
        js = nc.jetstream(timeout=PATIENCE)
        for fact in history["items"]:
            message = await js.get_msg("TENANT_EVENTS", fact["position"])
            headers = cast("dict[str, str]", message.headers)
            assert message.subject == f"tenants.events.{tenant_id}.{fact['type']}"
            assert headers["ce-type"] == fact["type"]
            assert headers["ce-position"] == str(fact["position"])
            assert headers["ce-id"] == headers["Nats-Msg-Id"]
            assert same_but_sealed(json.loads(message.data or b""), fact["data"])


async def test_the_same_life_over_http(service: Running):
    headers = {"Authorization": f"Bearer {service.at.admin_token}"}
    async with httpx.AsyncClient(base_url=service.at.http, headers=headers, timeout=PATIENCE) as http:
        key = {"Idempotency-Key": uuid4().hex}
        body = wish(f"h-{uuid4().hex[:8]}")
        first = await http.post("/api/v1/tenants", json=body, headers=key)
        again = await http.post("/api/v1/tenants", json=body, headers=key)
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.content == again.content
        operation = await ended_at(http, first.headers["Location"])
        assert operation["status"] == "succeeded"
        url = f"/api/v1/tenants/{first.json()['tenant_id']}"
        seen = await http.get(url)
        stale = await http.put(url, json={"name": "New"}, headers={"If-Match": '"1"'})
        assert (stale.status_code, stale.json()["type"]) == (412, "/problems/version-conflict")
        renamed = await http.put(url, json={"name": "New"}, headers={"If-Match": seen.headers["ETag"]})
        assert (renamed.status_code, renamed.json()["status"]) == (200, "completed")
        upgraded = await http.put(f"{url}/upgrade", json={"plan": "enterprise"})
        assert upgraded.status_code == 202
        assert (await ended_at(http, upgraded.headers["Location"]))["status"] == "succeeded"
        head = (await http.get(f"{url}/history")).json()["position"]
        assert (await http.get(url, params=at(head))).json()["plan"] == "enterprise"
        suspended = await http.post(f"{url}/suspend", json={"reason": "unpaid"})
        assert suspended.status_code == 202
        nobody = await http.get(url, headers={"Authorization": ""})
        assert (nobody.status_code, nobody.json()["type"]) == (401, "/problems/unauthenticated")


async def test_the_client_provisions_waits_asks_and_follows(service: Running):
    async with TenantClient.connect(service.at.nats) as tenants:
        tenant_id = uuid4()
        outcome = await tenants.provision(
            tenant_id=tenant_id,
            name="Client & Sons",
            subdomain=f"c-{tenant_id.hex[:8]}",
            admin={"email": "ada@client.example", "name": "Ada"},
        )
        operation = await outcome.operation(timeout=PATIENCE)
        assert operation is not None
        assert operation.status == "succeeded"
        assert (await tenants.tenant(tenant_id)).status == "active"
        seen: list[str] = []
        async with within("the event that ends the operation"):
            async for event in tenants.subscribe(from_position=1, tenant_id=tenant_id):
                seen.append(event.type)
                if event.type == "operation.succeeded":
                    break
        assert seen[0] == "tenant.provisioning_started"


async def test_no_secret_and_no_person_stands_in_the_log(service: Running):
    async with connected(service) as nc:
        tenant_id = str(uuid4())
        outcome = await ask(nc, f"tenants.rpc.{tenant_id}.provision", wish(f"l-{tenant_id[:8]}"))
        await ended(nc, tenant_id, outcome["operation_id"])
        await ask(nc, f"tenants.rpc.{tenant_id}.provision", {"name": "x", "admin": "grace@journey.example"})
    log = service.log.read_text()
    secrets = [
        service.at.admin_token,
        httpx.URL(service.at.postgres).password,
        httpx.URL(service.at.nats).password,
    ]
    for hidden in ("grace@journey.example", "Grace Hopper", *secrets):
        assert hidden not in log


async def test_the_bus_tells_what_the_service_offers(service: Running):
    async with connected(service) as nc:
        inbox = nc.new_inbox()
        answers = await nc.subscribe(inbox)
        await nc.publish("$SRV.INFO.tenants", b"", reply=inbox)
        offered: dict[str, dict[str, Any]] = {}
        async with within("the endpoints that are discovered"):
            while not {"provision", "tenant"} <= offered.keys():
                told = json.loads((await answers.next_msg(timeout=PATIENCE)).data)
                assert told["type"] == "io.nats.micro.v1.info_response"
                offered |= {endpoint["name"]: endpoint for endpoint in told["endpoints"]}
    assert offered["provision"]["subject"] == "tenants.rpc.*.provision"
    assert "subdomain" in json.loads(offered["provision"]["metadata"]["request_schema"])["properties"]
