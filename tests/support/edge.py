"""A service without its bus for tests of the HTTP edge, and callers of it."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry

from handlers.http_edge.app import http_app
from handlers.http_edge.health import Health
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, encoded
from tenant_domain.decision import Event
from tenant_domain.tenant.decide import ref as tenant_ref
from tenant_domain.tenant.events import Activated
from tests.support.waiting import PATIENCE

ASYNCAPI = b'{"asyncapi": "3.0.0"}'


Made = Callable[[str], Awaitable[dict[str, Any]]]


class Service:
    """The command path and the queries of one process; sagas are played by the test."""

    def __init__(self, doors: Doors, store: EventStore) -> None:
        self.doors = doors
        self.store = store

    async def finish_provisioning(self, tenant_id: str, operation_id: str) -> None:
        """Write what the provisioning saga writes at its end: the tenant is active, at version 2."""
        await self.finish(tenant_id, Activated(operation_id=operation_id))

    async def finish(self, tenant_id: str, event: Event) -> None:
        """Write a fact about the tenant that a saga would."""
        stream = UUID(tenant_id)
        latest = (await self.store.load([tenant_ref(stream)]))[stream].version
        row = EventRow(stream, stream, latest + 1, event.name, encoded(event, Meta()), 0)
        await self.store.append(Batch(events=[row]))


def edge(doors: Doors, signer: Signer, **options: Any) -> ASGIApp:
    """The edge, with nothing to ask for its health."""
    options = {"health": Health({}), "asyncapi": ASYNCAPI, "registry": CollectorRegistry(), **options}
    return http_app(doors, signer=signer, **options)


def client(app: ASGIApp, token: str | None = None) -> httpx.AsyncClient:
    """A caller of the edge without a socket between them."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),  # pyright: ignore[reportArgumentType]
        base_url="http://edge",
        headers=headers,
        timeout=PATIENCE,
    )


def at(position: int) -> dict[str, Any]:
    """The parameters of a query that waits for a position, also where the machine has much else to do."""
    return {"min_position": position, "timeout_ms": 30_000}


def wish(subdomain: str = "acme", **more: Any) -> dict[str, Any]:
    """The body of a `provision`."""
    admin = {"email": "ada@acme.example", "name": "Ada Lovelace"}
    return {"name": "Acme Rockets", "subdomain": subdomain, "admin": admin, **more}
