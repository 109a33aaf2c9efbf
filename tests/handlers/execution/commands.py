"""Commands in a few words, and what a test looks at in their outcomes."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from handlers.execution.decode import Request, decoded
from handlers.execution.executor import Executor
from handlers.execution.metrics import CommandMetrics
from handlers.execution.reply import Reply
from handlers.store.batch import Batch, EventRow, ReadRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, encoded, event_of
from tenant_domain.catalogue import Policy
from tenant_domain.tenant.decide import activated
from tenant_domain.tenant.decide import ref as tenant_ref
from tests.support.keys import KEY, keyring_of
from tests.support.waiting import within

ADMIN = {"email": "ada@example.com", "name": "Ada"}


def executor_on(store: EventStore, **options: Any) -> Executor:
    """Return an executor with metrics of its own, more patient than in service unless told otherwise."""
    given: dict[str, Any] = {"unavailable_after": 20.0, **options}
    return Executor(
        store,
        Policy(),
        keyring_of(store),
        fingerprint=KEY.fingerprint,
        metrics=CommandMetrics(CollectorRegistry()),
        **given,
    )


async def served(executor: Executor, command: Request) -> Reply:
    """Ask until the database is reached, as a caller does, and return the reply."""
    async with within("a reply that is not `unavailable`"):
        while (reply := await executor.execute(command)).problem == "unavailable":
            pass
    return reply


def request(
    tenant: UUID,
    command: str,
    body: Mapping[str, Any] | None = None,
    *,
    command_id: UUID | None = None,
    **headers: str,
) -> Request:
    """Return a command of `tenant`; headers with underscores for their hyphens."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given["Command-Id"] = str(command_id or uuid4())
    text = json.dumps(body).encode() if body is not None else b""
    return decoded(str(tenant), command, given, text, durable=False, new_id=uuid4)


def provision(tenant: UUID, subdomain: str | None = None, **more: Any) -> Request:
    """Return the command that makes a tenant."""
    body = {"name": "Acme", "subdomain": subdomain or f"t-{tenant.hex}", "admin": ADMIN}
    return request(tenant, "provision", body, **more)


def rename(tenant: UUID, name: str, **more: Any) -> Request:
    """Return the command that gives a tenant another name."""
    return request(tenant, "update_profile", {"name": name}, **more)


def outcome(reply: Reply) -> dict[str, Any]:
    """Return an outcome as its reader sees it."""
    return json.loads(reply.body)


async def facts(store: EventStore, tenant: UUID) -> list[str]:
    """Return the names of all that happened to a tenant, in order."""
    return [event.topic for event in await store.read_tenant(tenant, 0, None, 1000)]


async def names_given(store: EventStore, tenant: UUID) -> list[Any]:
    """Return the names that a tenant was given, in order."""
    events = await store.read_tenant(tenant, 0, None, 100_000, ["tenant.profile_updated"])
    return [event_of(event.topic, event.state).tenant_name for event in events]  # pyright: ignore


async def active_tenant(store: EventStore, executor: Executor) -> UUID:
    """Provision a tenant, and activate it as its saga would."""
    tenant = uuid4()
    operation = outcome(await executor.execute(provision(tenant)))["operation_id"]
    await happened(store, tenant, activated(UUID(operation)))
    return tenant


async def happened(store: EventStore, tenant: UUID, event: Any) -> None:
    """Write an event to a tenant's stream behind the executors' backs."""
    version = (await store.load([tenant_ref(tenant)]))[tenant].version
    row = EventRow(tenant, tenant, version + 1, event.name, encoded(event, Meta()), 0)
    appended = await store.append(Batch(events=[row], reads=[ReadRow(tenant, version, 0)]))
    assert not appended.dropped
