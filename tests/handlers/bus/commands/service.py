"""The role `commands` on names of a test's own, and callers of its two doors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import nats
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from handlers.adapters.keyring import Keyring
from handlers.bus.commands import CommandsRole, Limits
from handlers.bus.connection import flush
from handlers.execution.metrics import CommandMetrics
from handlers.store.batch import Batch, EventRow, ReadRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, encoded, event_of
from handlers.wire.sealing import key_of_body, opened_body
from tenant_domain.catalogue import Policy
from tenant_domain.tenant.decide import activated
from tenant_domain.tenant.decide import ref as tenant_ref
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.bus import Bus
from tests.support.keys import KEY, keyring_of
from tests.support.waiting import PATIENCE

ADMIN = {"email": "ada@example.com", "name": "Ada"}


async def quiet(_: Exception) -> None:
    """Say nothing of lost connections: they are what a test is about."""


@asynccontextmanager
async def role_on(
    nats_url: str, postgres_url: str, bus: Bus, *, pool_timeout: float = 5.0, **limits: Any
) -> AsyncGenerator[CommandsRole]:
    """Run the role with a broker and a store of its own, as one process would, but more patient."""
    nc = await nats.connect(
        nats_url,
        reconnect_time_wait=0.05,  # pyright: ignore[reportArgumentType] - seconds, also parts of one
        max_reconnect_attempts=-1,
        error_cb=quiet,
    )
    times = {"retry_pause": 0.01, "longest_pause": 0.1, "unavailable_after": 20.0}
    given: dict[str, Any] = {**times, **limits}
    async with EventStore(postgres_url, pool_timeout=pool_timeout) as store:
        role = CommandsRole(
            nc,
            store,
            postgres_url,
            Policy(),
            keyring_of(store),
            fingerprint=KEY.fingerprint,
            subjects=bus.subjects,
            streams=bus.streams,
            metrics=CommandMetrics(CollectorRegistry()),
            limits=Limits(**given),
        )
        await role.start()
        try:
            yield role
        finally:
            await role.stop()
            await nc.drain()


class Caller:
    """Another service: it sends commands through both doors and hears their outcomes."""

    def __init__(self, bus: Bus, nc: Client | None = None) -> None:
        self.nc = nc or bus.nc
        self.bus = bus
        self.inbox = self.nc.new_inbox()
        self._outcomes: dict[str, asyncio.Future[Msg]] = {}

    async def listen(self) -> None:
        await self.nc.subscribe(f"{self.inbox}.*", cb=self._heard)
        await flush(self.nc)

    async def _heard(self, message: Msg) -> None:
        self._future(message.subject).set_result(message)

    def _future(self, subject: str) -> asyncio.Future[Msg]:
        return self._outcomes.setdefault(subject, asyncio.get_running_loop().create_future())

    async def ask(
        self,
        tenant: UUID | str,
        command: str,
        body: Mapping[str, Any] | bytes = b"",
        command_id: UUID | str | None = None,
        timeout: float = PATIENCE,  # noqa: ASYNC109 - the client's own
        **headers: str,
    ) -> Msg:
        """Send a command through the answered door, and return its reply."""
        given = _headers(command_id or uuid4(), headers)
        return await self.nc.request(
            self.bus.subjects.rpc(tenant, command), _text(body), timeout=timeout, headers=given
        )

    async def put(
        self,
        tenant: UUID | str,
        command: str,
        body: Mapping[str, Any] | bytes = b"",
        command_id: UUID | str | None = None,
        **headers: str,
    ) -> asyncio.Future[Msg]:
        """Put a command into the stream; its outcome comes to the future that is returned."""
        inbox = f"{self.inbox}.{uuid4().hex}"
        given = {"Reply-To": inbox, **_headers(command_id or uuid4(), headers)}
        await self.nc.jetstream(timeout=PATIENCE).publish(
            self.bus.subjects.command(tenant, command), _text(body), timeout=PATIENCE, headers=given
        )
        return self._future(inbox)

    async def pour(self, commands: Sequence[tuple[UUID, str, Mapping[str, Any]]]) -> None:
        """Put many commands into the stream, without their outcomes."""
        js = self.nc.jetstream(timeout=PATIENCE, publish_async_max_pending=1000)
        acks = [
            await js.publish_async(
                self.bus.subjects.command(tenant, command), _text(body), headers=_headers(uuid4(), {})
            )
            for tenant, command, body in commands
        ]
        await asyncio.gather(*acks)


def _headers(command_id: UUID | str, headers: Mapping[str, str]) -> dict[str, str]:
    return {
        "Command-Id": str(command_id),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }


def _text(body: Mapping[str, Any] | bytes) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def outcome(message: Msg) -> dict[str, Any]:
    """Return an outcome as its reader sees it."""
    return json.loads(message.data)


def problem(message: Msg) -> str | None:
    """Return the problem's name, after looking that header and body agree."""
    found = outcome(message)
    headers = message.headers or {}
    if found["status"] == "completed":
        assert "Nats-Service-Error" not in headers
        return None
    error = found["error"]
    assert headers["Nats-Service-Error-Code"] == str(error["status"])
    assert error["type"] == f"/problems/{headers['Nats-Service-Error']}"
    return headers["Nats-Service-Error"]


def provisioning(tenant: UUID) -> dict[str, Any]:
    """Return the body that makes a tenant."""
    return {"name": "Acme", "subdomain": f"t-{tenant.hex}", "admin": ADMIN}


async def active_tenants(store: EventStore, caller: Caller, number: int = 1) -> list[UUID]:
    """Provision tenants, and activate them as their sagas would."""
    tenants = [uuid4() for _ in range(number)]
    replies = await asyncio.gather(*(caller.ask(each, "provision", provisioning(each)) for each in tenants))
    operations = [UUID(outcome(reply)["operation_id"]) for reply in replies]
    await activate(store, dict(zip(tenants, operations, strict=True)))
    return tenants


async def activate(store: EventStore, tenants: Mapping[UUID, UUID]) -> None:
    """Say that provisioning ended well, for tenants and their operations."""
    loaded = await store.load([tenant_ref(tenant) for tenant in tenants])
    batch = Batch()
    for group, (tenant, operation) in enumerate(tenants.items()):
        event, version = activated(operation), loaded[tenant].version
        batch.reads.append(ReadRow(tenant, version, group))
        batch.events.append(EventRow(tenant, tenant, version + 1, event.name, encoded(event, Meta()), group))
    assert not (await store.append(batch)).dropped


async def numbers(store: EventStore, tenant: UUID) -> list[int]:
    """Return the numbers that a tenant's settings were given, in the order of the log."""
    events = await store.read_tenant(tenant, 0, None, 1_000_000, ["tenant.profile_updated"])
    keyring = keyring_of(store)
    facts = [await keyring.opened(tenant, event_of(each.topic, each.state)) for each in events]
    return [fact.settings["number"] for fact in facts if isinstance(fact, ProfileUpdated) and fact.settings]


async def dead_letters(postgres_url: str) -> list[tuple[Any, ...]]:
    """Return (tenant, stream, sequence, reason, subject, headers, body, error) of each, the body opened."""
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        found = await connection.execute(
            "SELECT tenant, stream, sequence, reason, subject, headers, body, error"
            " FROM service.dead_letters ORDER BY sequence"
        )
        rows = await found.fetchall()
    async with EventStore(postgres_url, readers=1) as store:
        return [(*row[:6], await _opened(row[6], keyring_of(store)), row[7]) for row in rows]


async def _opened(body: bytes, keyring: Keyring) -> bytes | None:
    key_id = key_of_body(body)
    assert key_id is not None, "the body of a dead letter is not sealed"
    return opened_body(body, await keyring.find([key_id]))


async def progress(postgres_url: str) -> dict[int, tuple[int, UUID | None]]:
    """Return sequence and owner of each partition."""
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        rows = await connection.execute("SELECT partition, sequence, owner FROM service.command_progress")
        return {partition: (sequence, owner) for partition, sequence, owner in await rows.fetchall()}


async def connect(url: str) -> Client:
    """Connect as a caller that survives a restart of the server."""
    return await nats.connect(url, error_cb=quiet, reconnect_time_wait=0.05, max_reconnect_attempts=-1)
