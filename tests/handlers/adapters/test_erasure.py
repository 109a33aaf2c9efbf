"""A tenant whose key is destroyed: nothing of what people said stands anywhere any more, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats
import psycopg
from nats.aio.client import Client

from deploy.embedded import EmbeddedStack
from deploy.processes import ServiceProcess
from handlers.adapters import jetstream
from handlers.adapters.erasure import Erased, Erasure
from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import load_master_key
from handlers.adapters.schemas import schema_of
from handlers.queries import Queries
from handlers.store.connections import Connections
from handlers.store.tenant_keys import TenantKeyRows
from handlers.wire.subjects import Streams, Subjects
from tests.support.bus import messages_of
from tests.support.waiting import PATIENCE, within

ROLES = ("commands", "sagas", "projections", "relay")

EMAIL, NAME = "zoe.quetzal@planted.example", "Zoe Quetzalcoatl"
METADATA, SETTING = "planted-metadata-9c1f", "planted-setting-77ab"
REASON, REFUSED, BROKEN = "planted reason 41d0", "planted refused 83ee", "planted broken 5b2c"
PLANTED = (EMAIL, NAME, METADATA, SETTING, REASON, REFUSED, BROKEN)


async def send(nc: Client, tenant_id: UUID, command: str, body: bytes) -> dict[str, Any]:
    """Send a durable command, and return its outcome."""
    inbox = nc.new_inbox()
    outcomes = await nc.subscribe(inbox)
    headers = {"Command-Id": str(uuid4()), "Reply-To": inbox}
    await nc.jetstream(timeout=PATIENCE).publish(
        f"tenants.commands.{tenant_id}.{command}", body, headers=headers
    )
    return json.loads((await outcomes.next_msg(timeout=PATIENCE)).data)


async def ask(nc: Client, tenant_id: UUID, query: str, **fields: Any) -> dict[str, Any]:
    answer = await nc.request(
        f"tenants.queries.{tenant_id}.{query}", json.dumps(fields).encode(), timeout=PATIENCE
    )
    return json.loads(answer.data)


async def settled(nc: Client, tenant_id: UUID, outcome: dict[str, Any]) -> None:
    async with within("the end of the operation"):
        while True:
            run = await ask(nc, tenant_id, "operation", operation_id=outcome["operation_id"])
            if run.get("finished_at"):
                return
            await asyncio.sleep(0.05)


async def lived(nc: Client, tenant_id: UUID) -> None:
    """Live a short life in which people are named in every way that there is."""
    wish = {
        "name": "Planted Ltd",
        "subdomain": "planted",
        "admin": {"email": EMAIL, "name": NAME},
        "metadata": {"contact": METADATA},
        "settings": {"support": {"person": SETTING}},
    }
    refused = wish | {"plan": "none", "metadata": {"a": REFUSED}}
    await send(nc, tenant_id, "provision", json.dumps(refused).encode())
    await settled(nc, tenant_id, await send(nc, tenant_id, "provision", json.dumps(wish).encode()))
    await send(nc, tenant_id, "update_profile", b'{"metadata": "' + BROKEN.encode())
    await send(nc, uuid4(), "resume", b"")  # somebody else's, so that the stream's file stays
    await send(nc, tenant_id, "place_legal_hold", json.dumps({"reason": REASON}).encode())
    await send(nc, tenant_id, "release_legal_hold", b"")
    suspended = await send(nc, tenant_id, "suspend", json.dumps({"reason": REASON}).encode())
    await settled(nc, tenant_id, suspended)
    async with within("three dead letters in the stream"):
        while len(await messages_of(nc, "TENANT_DEAD_LETTERS")) < 3:  # noqa: ASYNC110 - others publish them
            await asyncio.sleep(0.05)


def found_in(folder: Path, wanted: tuple[bytes, ...]) -> dict[bytes, list[str]]:
    """Return in which files below a folder each of these bytes stand."""
    places: dict[bytes, list[str]] = {each: [] for each in wanted}
    for inner, _, names in os.walk(folder):
        for file in (Path(inner, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # the servers that write here have removed it
                content = file.read_bytes()
                for each in wanted:
                    if each in content:
                        places[each].append(str(file.relative_to(folder)))
    return places


def planted_in(content: bytes) -> list[str]:
    return [text for text in PLANTED if text.encode() in content]


async def dumped(url: str) -> bytes:
    """Return all rows of the service's tables, as text."""
    content = bytearray()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        tables = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'service'")
        for (table,) in await tables.fetchall():
            async with connection.cursor().copy(f'COPY service."{table}" TO STDOUT'.encode()) as copy:
                async for row in copy:
                    content += row
    return bytes(content)


async def history_of(url: str, master_file: Path, tenant_id: UUID) -> list[dict[str, Any]]:
    """Return the history that a process gives which has not opened anything before."""
    connections = Connections(
        url, readers=2, statement_timeout=60, lock_timeout=60, idle_timeout=60, pool_timeout=60
    )
    await connections.open()
    keyring = Keyring(TenantKeyRows(connections), load_master_key(master_file, create=False))
    queries = Queries(connections, keyring)
    try:
        return json.loads(await queries.answer(str(tenant_id), "history", b'{"limit": 500}'))["items"]
    finally:
        await queries.close()
        await connections.close()


@asynccontextmanager
async def connection_to(url: str) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def the_key(url: str, master_file: Path, tenant_id: UUID) -> tuple[bytes, bytes]:
    """Return the tenant's data key, and how it is stored."""
    async with connection_to(url) as connection:
        cursor = await connection.execute(
            "SELECT key_id, wrapped FROM service.tenant_keys WHERE tenant_id = %s", (tenant_id,)
        )
        ((key_id, wrapped),) = await cursor.fetchall()
    master = load_master_key(master_file, create=False)
    return await master.unwrap(wrapped, tenant_id.bytes + key_id.bytes), wrapped


async def analysed(url: str, tenant_id: UUID) -> str:
    """Let the planner remember the commonest name; returns the file of what it remembers."""
    users = f"{schema_of(tenant_id)}.users"
    async with connection_to(url) as connection:
        rows = (
            f"INSERT INTO {users} (id, name, role, status) SELECT gen_random_uuid(), %s, 'viewer', 'active'"
        )
        await connection.execute(f"{rows} FROM generate_series(1, 20)".encode(), (NAME,))
        await connection.execute(f"ANALYZE {users}".encode())
        found = await connection.execute("SELECT pg_relation_filepath('pg_catalog.pg_statistic')")
        ((path,),) = await found.fetchall()
        return path


async def purged(nc: Client, upto: int) -> None:
    """Purge the first commands, as those that are decided are: their bytes stay in a block with others."""
    await jetstream.call(nc, "STREAM.PURGE.TENANT_COMMANDS", {"seq": upto + 1})


async def erased_with_its_schema(url: str, nc: Client, tenant_id: UUID) -> Erased:
    """Do what the end of a termination does."""
    async with connection_to(url) as connection:
        await connection.execute(f"DROP SCHEMA {schema_of(tenant_id)} CASCADE".encode())
    erasure = Erasure(lambda: connection_to(url), nc, Subjects(), Streams())
    first = await erasure.erase(tenant_id)
    again = await erasure.erase(tenant_id)
    assert again.key_ids == first.key_ids
    assert [store.count for store in again.stores] == [0] * len(again.stores)
    return first


async def test_nothing_that_people_said_outlives_the_key_of_their_tenant(
    own_stack: EmbeddedStack, warm_dir: Path
) -> None:
    tenant_id, master_file = uuid4(), warm_dir.parent / "master.key"
    url = own_stack.endpoints.postgres_url
    environment = {
        "TENANTS_NATS_URL": own_stack.endpoints.nats_url,
        "TENANTS_POSTGRES_URL": url,
        "TENANTS_OBJECTS_URL": f"file:{warm_dir / 'objects'}",
        "TENANTS_MASTER_KEY_FILE": str(master_file),
        "TENANTS_CERTIFICATE_KEY_FILE": str(warm_dir.parent / "certificates.pem"),
        "TENANTS_CREATE_KEYS": "true",
    }
    service = ServiceProcess("all", ROLES, environment)
    await service.start()
    nc = await nats.connect(own_stack.endpoints.nats_url)
    try:
        await lived(nc, tenant_id)
        history = json.dumps(await ask(nc, tenant_id, "history", limit=500))
        assert all(text in history for text in (EMAIL, NAME, METADATA, SETTING, REASON))
        tenant = await ask(nc, tenant_id, "tenant")
        assert (tenant["metadata"], tenant["settings"]) == (
            {"contact": METADATA},
            {"support": {"person": SETTING}},
        )
        statistics = await analysed(url, tenant_id)
        secret, wrapped = await the_key(url, master_file, tenant_id)
        wanted = (*(text.encode() for text in PLANTED), secret, wrapped)

        await purged(nc, 3)
        async with connection_to(url) as connection:
            await connection.execute("CHECKPOINT")
        before = await asyncio.to_thread(found_in, warm_dir, wanted)
        assert any("base/" in place for place in before[EMAIL.encode()])  # the tenant's own table of users
        assert any("pg_wal/" in place for place in before[EMAIL.encode()])
        assert any("base/" in place for place in before[wrapped])
        assert any(statistics in place for place in before[NAME.encode()])
        assert all(any("TENANT_COMMANDS" in place for place in before[text.encode()]) for text in PLANTED)
        assert not any("TENANT_EVENTS" in place for places in before.values() for place in places)
        assert not planted_in(await dumped(url))

        erased = await erased_with_its_schema(url, nc, tenant_id)
        assert all(store.verified for store in erased.stores)
        counts = {store.store: store.count for store in erased.stores}
        assert counts["TENANT_COMMANDS"] == 3  # and three were purged before
        assert (counts["TENANT_DEAD_LETTERS"], counts["service.dead_letters"]) == (2, 2)
        assert (counts["service.tenant_keys"], len(erased.key_ids)) == (1, 1)

        at_once = await asyncio.to_thread(found_in, warm_dir, wanted)
        assert at_once == {each: [] for each in wanted}

        told = [await ask(nc, tenant_id, "history", limit=500), await ask(nc, tenant_id, "tenant")]
        assert not planted_in(json.dumps(told).encode()), "a process goes on reading with a key that is gone"

        facts = await history_of(url, master_file, tenant_id)
        assert [fact["data"]["admin"]["name"] for fact in facts if "admin" in fact["data"]] == ["erased"]
        assert not any(text in json.dumps(facts) for text in PLANTED)
    finally:
        await nc.close()
        await service.stop()
    assert not planted_in(await dumped(url))
    await own_stack.stop()

    after = await asyncio.to_thread(found_in, warm_dir, wanted)
    assert after == {each: [] for each in wanted}
