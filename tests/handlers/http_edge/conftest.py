"""The edge before the real command path and the real read models, on a database of each test's own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import OKPKey
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry
from uuid_utils.compat import uuid7

from handlers.execution.executor import Executor
from handlers.http_edge.app import http_app
from handlers.http_edge.health import Health
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from handlers.projector.projector import Projector
from handlers.projector.rebuild import rebuild
from handlers.queries import Queries
from handlers.store.connections import Connections
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from projections.registry import READ_MODELS
from tenant_domain.catalogue import Policy

ASYNCAPI = b'{"asyncapi": "3.0.0"}'


@pytest.fixture
def signer() -> Signer:
    return Signer(OKPKey.generate_key("Ed25519"))


@pytest.fixture
async def doors(postgres_url: str) -> AsyncIterator[Doors]:
    """The command path and the queries of one process, as a service has them."""
    await migrate(postgres_url)
    connections = Connections(
        postgres_url, readers=4, statement_timeout=30, lock_timeout=10, idle_timeout=5, pool_timeout=10
    )
    await connections.open()
    for model in READ_MODELS.values():
        await rebuild(postgres_url, connections, model)
    queries = Queries(connections)

    async def announce(position: int) -> None:
        queries.positions.heard(position)

    async with EventStore(postgres_url, readers=4) as store:
        projector = Projector(store, connections, list(READ_MODELS.values()), announce)
        executor = Executor(store, Policy(), committed=lambda _: projector.wake())
        projecting = asyncio.create_task(projector.run())
        await executor.start()
        yield Doors(executor.execute, queries.answer, uuid7)
        await executor.stop()
        projecting.cancel()
        await asyncio.gather(projecting, return_exceptions=True)
    await queries.close()
    await connections.close()


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
        timeout=60,
    )


@pytest.fixture
def operator_token(signer: Signer) -> str:
    return signer.sign(user="ops", role="operator")


@pytest.fixture
async def operator(doors: Doors, signer: Signer, operator_token: str) -> AsyncIterator[httpx.AsyncClient]:
    """An operator of a real service."""
    async with client(edge(doors, signer), operator_token) as caller:
        yield caller
