"""The edge before the real command path and the real read models, on a database of each test's own."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from joserfc.jwk import OKPKey
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry
from uuid_utils.compat import uuid7

from handlers.adapters.exports.shelf import Shelf
from handlers.adapters.objects import buckets
from handlers.adapters.tasks import end
from handlers.execution.executor import Executor
from handlers.execution.metrics import CommandMetrics
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from handlers.projector.projector import Projector
from handlers.queries import Queries
from handlers.store.connections import Connections
from handlers.store.event_store import EventStore
from projections.registry import READ_MODELS
from tenant_domain.catalogue import Policy
from tests.support.edge import Made, Service, client, edge, wish
from tests.support.keys import KEY, keyring_of, reading_keyring


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer(OKPKey.generate_key("Ed25519"))


@pytest.fixture
async def service(read_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    """A service on a database of this test's own."""

    @asynccontextmanager
    async def connect() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(read_url, autocommit=True) as connection:
            yield connection

    shelf = Shelf(buckets(f"file:{tmp_path}", kind="x"), connect)
    connections = Connections(
        read_url, readers=4, statement_timeout=60, lock_timeout=60, idle_timeout=60, pool_timeout=60
    )
    await connections.open()
    queries = Queries(connections, reading_keyring(connections))

    async def announce(position: int, _moved: object) -> None:
        queries.positions.heard(position)

    async with EventStore(read_url, readers=4) as store:
        store.announce = queries.memory.written
        projector = Projector(store, connections, list(READ_MODELS.values()), announce, poll=0.05)
        executor = Executor(
            store,
            Policy(),
            keyring_of(store),
            fingerprint=KEY.fingerprint,
            metrics=CommandMetrics(CollectorRegistry()),
            committed=lambda _: projector.wake(),
            unavailable_after=20,
        )
        projecting = asyncio.create_task(projector.run())
        await executor.start()
        yield Service(Doors(executor.execute, queries.answer, uuid7, shelf.fetch), store)
        await executor.stop()
        await end(projecting)
    await queries.close()
    await connections.close()


@pytest.fixture
async def app(service: Service, signer: Signer) -> ASGIApp:
    return edge(service.doors, signer)


@pytest.fixture
async def operator(app: ASGIApp, signer: Signer) -> AsyncIterator[httpx.AsyncClient]:
    """An operator of a real service."""
    async with client(app, signer.sign(user="ops", role="operator")) as caller:
        yield caller


@pytest.fixture
async def refused(signer: Signer) -> AsyncIterator[httpx.AsyncClient]:
    """An operator of a service without a database: whatever is asked must be refused before it is needed."""

    async def never(*_: object) -> Any:
        raise AssertionError

    nowhere = Connections(
        "postgresql://127.0.0.1:1",
        readers=1,
        statement_timeout=1,
        lock_timeout=1,
        idle_timeout=1,
        pool_timeout=1,
    )
    doors = Doors(never, Queries(nowhere, reading_keyring(nowhere)).answer, uuid7, never)
    async with client(edge(doors, signer), signer.sign(user="ops", role="operator")) as caller:
        yield caller


@pytest.fixture
def active_tenant(operator: httpx.AsyncClient, service: Service) -> Made:
    """Makes a tenant that is active, and returns the outcome of its provisioning."""

    async def make(subdomain: str) -> dict[str, Any]:
        outcome = (await operator.post("/api/v1/tenants", json=wish(subdomain))).json()
        await service.finish_provisioning(outcome["tenant_id"], outcome["operation_id"])
        return outcome

    return make
