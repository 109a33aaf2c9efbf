"""A service of one role for tests: asks for tenants as the command path would, and sees what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import nats
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from handlers.adapters.access import Access
from handlers.adapters.certificates import CertificateKey
from handlers.adapters.consumers import TenantConsumers
from handlers.adapters.deletion import Deletion
from handlers.adapters.effects import Effects
from handlers.adapters.erasure import Erasure
from handlers.adapters.exports.preservation import Preservation
from handlers.adapters.exports.shelf import Shelf
from handlers.adapters.notices import Mailer, Notices
from handlers.adapters.objects import Buckets, buckets
from handlers.adapters.plans import Plans
from handlers.adapters.schemas import prepare, schema_of
from handlers.adapters.table import effects
from handlers.adapters.tasks import end
from handlers.saga_runner.role import SagasRole
from handlers.saga_runner.worker import Limits
from handlers.store.batch import AgendaRow, Batch, EventRow, ReadRow
from handlers.store.event_store import EventStore, StoredEvent
from handlers.store.migrate import migrate
from handlers.wire.events import Meta, encoded, event_of
from handlers.wire.subjects import Streams, Subjects
from sagas.definition import RetryPolicy, Saga
from sagas.registry import SAGAS
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Command, Context, Event, Ref, World
from tenant_domain.operation import decide as operation
from tenant_domain.operation.state import Operation
from tenant_domain.registry import COMMANDS
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.commands import Provision
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import operation_id_of
from tests.support.keys import KEY, keyring_of
from tests.support.waiting import within

POLICY = Policy()
CERTIFICATE_KEY = CertificateKey(
    OKPKey.import_key(
        Ed25519PrivateKey.from_private_bytes(b"c" * 32).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
)
"""The same in all processes of a test."""

QUICK = RetryPolicy(max_tries=3, first=0.01, factor=1.0, cap=0.01)


def quickened(
    policy: RetryPolicy = QUICK, sagas: Mapping[str, Saga] = SAGAS, **changes: Any
) -> dict[str, Saga]:
    """Return the sagas with another retry policy, so that no test waits."""

    def with_policy(saga: Saga) -> Saga:
        return saga._replace(steps=tuple(step._replace(retry=policy, **changes) for step in saga.steps))

    return {kind: with_policy(saga) for kind, saga in sagas.items()}


def wish(**changes: Any) -> Provision:
    """Return a believable command."""
    body: dict[str, Any] = {
        "name": "Lumen Optics",
        "subdomain": f"lumen-{uuid4().hex[:12]}",
        "plan": "professional",
        "admin": {"email": "ada@lumen.example", "name": "Ada Lumen", "user_id": "ada"},
        "settings": {"locale": "en"},
    }
    return Provision.model_validate(body | changes)


@dataclass
class House:
    """The parts of a service, on real servers."""

    postgres_url: str
    store: EventStore
    nats: Client
    buckets: Buckets
    effects: Effects
    objects: Path
    shelf: Shelf
    subjects: Subjects = field(default_factory=lambda: Subjects(f"t{uuid4().hex}"))
    now: Callable[[], datetime] = field(default_factory=lambda: _now)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def role(self, **changes: Any) -> SagasRole:
        """Return a role that is not started yet."""
        arguments: dict[str, Any] = {
            "postgres_url": self.postgres_url,
            "store": self.store,
            "nats": self.nats,
            "subjects": self.subjects,
            "effects": self.effects,
            "policy": POLICY,
            "registry": CollectorRegistry(),
            "now": self.now,
            "sagas": quickened(),
            "limits": Limits(lease=30.0, poll=0.1, grace=0.5),  # a lease that a slow machine does not lose
        }
        return SagasRole(**(arguments | changes))

    @asynccontextmanager
    async def working(self, **changes: Any) -> AsyncGenerator[SagasRole]:
        """Run a role."""
        role = self.role(**changes)
        await role.start()
        try:
            yield role
        finally:
            await role.stop()

    async def ask(self, tenant_id: UUID, command: Command, meta: Meta | None = None) -> UUID | None:
        """Decide on a command and append what follows, as the command path does."""
        spec = COMMANDS[command.name_]
        while True:
            tenant = (await self.store.load([tenant_decide.ref(tenant_id)]))[tenant_id]
            refs = {tenant_decide.ref(tenant_id), *spec.streams(tenant_id, command, tenant.state)}
            loaded = await self.store.load(refs)
            now = self.now()
            ctx = Context(tenant_id, now, operation_id_of(tenant_id, uuid4()), "tests", POLICY)
            decision = spec.decide(command, World({key: item.state for key, item in loaded.items()}), ctx)
            batch = Batch(reads=[ReadRow(key, item.version, 0) for key, item in loaded.items()])
            versions = {key: item.version for key, item in loaded.items()}
            for ref, event in decision.events:
                versions[ref.stream] = versions.get(ref.stream, 0) + 1
                body = encoded(event, meta or Meta(actor="tests"))
                batch.events.append(
                    EventRow(tenant_id, ref.stream, versions[ref.stream], event.name, body, 0)
                )
            runs = {ref.stream for ref, _ in decision.events if ref.entity == "operation"}
            for run in runs:
                kind = await self._kind(run, [event for ref, event in decision.events if ref.stream == run])
                batch.agenda.append(AgendaRow(run, tenant_id, kind, now, None, 0))
            appended = await self.store.append(batch)
            if not appended.dropped:
                await self.nats.publish(self.subjects.hint("committed"), str(appended.head).encode())
                return decision.operation_id

    async def _kind(self, operation_id: UUID, events: list[Event]) -> str:
        for event in events:
            if event.name == "operation.started":
                return cast("Any", event).kind
        return (await self.operation(operation_id)).kind

    async def provision(self, **changes: Any) -> tuple[UUID, UUID]:
        """Ask for a tenant; returns its id and its operation's."""
        tenant_id = uuid4()
        operation_id = await self.ask(tenant_id, wish(**changes))
        assert operation_id is not None
        return tenant_id, operation_id

    async def operation(self, operation_id: UUID) -> Operation:
        """Return the state of a run."""
        state = (await self.store.load([operation.ref(operation_id)]))[operation_id].state
        assert isinstance(state, Operation)
        return state

    async def tenant(self, tenant_id: UUID) -> Tenant:
        """Return the state of a tenant."""
        state = (await self.store.load([tenant_decide.ref(tenant_id)]))[tenant_id].state
        assert isinstance(state, Tenant)
        return state

    async def until(self, operation_id: UUID, holds: Callable[[Operation], bool]) -> Operation:
        """Wait until the run is as wanted."""
        async with within(f"operation {operation_id} to be as wanted"):
            while not holds(state := await self.operation(operation_id)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return state

    async def finished(self, operation_id: UUID) -> Operation:
        """Wait until the run has ended, or is parked."""
        return await self.until(operation_id, lambda state: state.finished or state.parked_reason is not None)

    async def quiet(self) -> None:
        """Wait until nothing is on the agenda."""
        async with within("an empty agenda"):
            while await self.agenda():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def history(self, tenant_id: UUID) -> list[StoredEvent]:
        """Return all events of a tenant."""
        return await self.store.read_tenant(tenant_id, 0, None, 10_000)

    async def facts(self, tenant_id: UUID) -> list[Event]:
        """Return all events of a tenant, decoded."""
        return [event_of(event.topic, event.state) for event in await self.history(tenant_id)]

    async def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        connecting = psycopg.AsyncConnection.connect(self.postgres_url, autocommit=True)
        async with await connecting as connection:
            cursor = await connection.execute(query.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def remains(self, tenant_id: UUID) -> set[str]:
        """Return what there is of a tenant outside the log."""
        name = schema_of(tenant_id)
        found: set[str] = set()
        if await self.sql("SELECT 1 FROM pg_namespace WHERE nspname = %s", name):
            found.add("schema")
        if await self.sql("SELECT 1 FROM pg_roles WHERE rolname = %s", name):
            found.add("role")
        if await self.buckets.exists(tenant_id):
            found.add("bucket")
        if not await self.shelf.gone(tenant_id):
            found.add("export")
        return found

    async def agenda(self) -> list[tuple[Any, ...]]:
        """Return the agenda."""
        return await self.sql("SELECT operation_id, due_at, owner FROM service.saga_agenda")


def _now() -> datetime:
    return datetime.now(UTC)


async def kill(role: SagasRole) -> None:
    """End a role as SIGKILL would: nothing is finished, nothing is given back."""
    worker = role._worker  # pyright: ignore[reportPrivateUsage]
    tasks = [*worker._lanes, *worker._runs]  # pyright: ignore[reportPrivateUsage]
    if worker._engine is not None:  # pyright: ignore[reportPrivateUsage]
        tasks.append(worker._engine)  # pyright: ignore[reportPrivateUsage]
    await end(*tasks)
    await worker._agenda.close()  # pyright: ignore[reportPrivateUsage]


EVERYTHING = {"schema", "role", "bucket"}


def topics(events: list[StoredEvent], entity: str) -> list[str]:
    """Return the names of the events of one entity."""
    return [event.topic for event in events if event.topic.startswith(f"{entity}.")]


@asynccontextmanager
async def house_at(
    postgres_url: str, nats_url: str, objects: Path, mailer: Mailer | None = None, s3: str | None = None
) -> AsyncGenerator[House]:
    """Build a house. Its objects are in a folder, or on the S3 server at `s3`."""
    await migrate(postgres_url)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await prepare(connection)
    client = await nats.connect(nats_url)
    prefix = Subjects(f"t{uuid4().hex}")

    @asynccontextmanager
    async def connect() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as own:
            yield own

    async def publish(subject: str, body: bytes, headers: dict[str, str]) -> None:
        await client.publish(subject, body, headers=headers)
        await client.flush()

    at = f"file:{objects}" if s3 is None else f"s3://acme?endpoint={s3}"
    store_of, places = (buckets(at, "an id", "a secret", kind=kind) for kind in ("t", "x"))
    notices, shelf = Notices(publish, prefix, mailer), Shelf(places, connect)
    async with EventStore(postgres_url) as store:
        keyring = keyring_of(store)
        streams = Streams(
            commands=f"C{prefix.prefix}",
            events=f"E{prefix.prefix}",
            dead_letters=f"D{prefix.prefix}",
            context=prefix.prefix,
        )
        preservation = Preservation(
            connect=connect,
            buckets=store_of,
            places=places,
            read_events=store.read_tenant,
            open_sealed=keyring.open_json,
            hand_over=notices.export_ready,
            now=_now,
        )
        deletion = Deletion(
            connect=connect,
            buckets=store_of,
            shelf=shelf,
            consumers=TenantConsumers(client, prefix, streams),
            eraser=Erasure(connect, client, prefix, streams),
            key=CERTIFICATE_KEY,
            issuer="tests",
            now=_now,
        )
        plans = Plans(connect, store_of)
        table = effects(KEY, keyring, Access(connect), store_of, notices, preservation, deletion, plans)
        try:
            yield House(postgres_url, store, client, store_of, table, objects, shelf, prefix)
        finally:
            await client.close()
            await store_of.close()
            await places.close()


__all__ = ["EVERYTHING", "House", "Ref", "house_at", "quickened", "topics", "wish"]
