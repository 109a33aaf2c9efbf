"""An export over HTTP: what counts as fetched by the tenant, and what does not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry

from handlers.adapters.exports.shelf import MANIFEST, Shelf
from handlers.adapters.exports.sources import Source
from handlers.adapters.objects import buckets
from handlers.http_edge.server import HttpServer
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from tests.support.edge import client, edge
from tests.support.waiting import PATIENCE, until

LARGE = b"0123456789abcdef" * (1 << 20)
"""More than the buffers between a server and its caller hold."""


@pytest.fixture
def shelf(store_url: str, tmp_path: Path) -> Shelf:
    @asynccontextmanager
    async def connect() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as connection:
            yield connection

    return Shelf(buckets(f"file:{tmp_path}", kind="x"), connect)


async def written(shelf: Shelf, tenant_id: UUID, **parts: bytes) -> UUID:
    """Write an export of these parts and a manifest; returns its operation."""
    operation_id = uuid4()
    await shelf.begin(tenant_id, operation_id)
    manifest = None
    for name, content in (*parts.items(), (MANIFEST, b"{}")):

        async def chunks(content: bytes = content) -> AsyncGenerator[bytes]:
            yield content

        manifest = await shelf.keep(tenant_id, operation_id, Source(name, "object", chunks))
    assert manifest is not None
    await shelf.finish(operation_id, manifest, datetime.now(UTC))
    return operation_id


class Door:
    """The edge of a service that has nothing but exports: the app, a caller over sockets, one without."""

    def __init__(self, shelf: Shelf, signer: Signer) -> None:
        async def nobody(*_: Any) -> Any:
            raise AssertionError

        self.registry = CollectorRegistry()
        self.app = edge(Doors(nobody, nobody, uuid4, shelf.fetch), signer, registry=self.registry)
        token = signer.sign(user="ops", role="operator")
        self.headers = {"Authorization": f"Bearer {token}"}
        self.inside = client(self.app, token)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[httpx.AsyncClient]:
        server = HttpServer(self.app, host="127.0.0.1", port=0)
        await server.start()
        async with httpx.AsyncClient(base_url=server.url, headers=self.headers, timeout=PATIENCE) as caller:
            yield caller
        await server.stop()

    async def answered(self, count: int) -> None:
        """Wait until the service has done with so many requests."""
        await until(lambda: not self._answered() < count)

    def _answered(self) -> float:
        name = "tenants_http_request_seconds_count"
        samples = (sample for metric in self.registry.collect() for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name == name)


@pytest.fixture
async def door(shelf: Shelf, signer: Signer) -> AsyncIterator[Door]:
    made = Door(shelf, signer)
    yield made
    await made.inside.aclose()


@pytest.mark.parametrize(
    ("own", "role", "status"),
    [
        (True, "owner", 200),
        (True, "admin", 200),
        (True, "member", 403),
        (True, "viewer", 403),
        (False, "owner", 404),
    ],
)
async def test_a_part_is_for_the_heads_of_its_own_tenant(
    shelf: Shelf, door: Door, signer: Signer, own: bool, role: str, status: int
):
    tenant_id, other = uuid4(), uuid4()
    for each, content in ((tenant_id, b"of the tenant"), (other, b"of another, and newer")):
        await written(shelf, each, part=content)
    token = signer.sign(user="ada", role=role, tenant=str(tenant_id if own else other))
    async with client(door.app, token) as caller:
        answer = await caller.get(f"/api/v1/tenants/{tenant_id}/export/part")
    assert answer.status_code == status
    assert status != 200 or answer.content == b"of the tenant"


async def test_an_export_is_handed_over_when_all_of_every_part_was_sent(shelf: Shelf, door: Door):
    tenant_id = uuid4()
    operation_id = await written(shelf, tenant_id, small=b"a few bytes", large=LARGE)
    at = f"/api/v1/tenants/{tenant_id}/export"

    async def is_fetched() -> bool:
        receipt = await shelf.receipt(operation_id)
        assert receipt is not None
        return receipt.fetched_at is not None

    async with door.open() as caller:
        for each in (caller, door.inside):
            for path, size in ((MANIFEST, 2), ("small", 11), ("large", len(LARGE))):
                head = await each.head(f"{at}/{path}")
                assert (head.status_code, head.headers["content-length"], head.content) == (
                    200,
                    str(size),
                    b"",
                )
        await door.answered(6)
        assert not await is_fetched()
        for path in (MANIFEST, "small"):
            assert (await caller.get(f"{at}/{path}")).status_code == 200
        async with caller.stream("GET", f"{at}/large") as broken_off:
            await anext(broken_off.aiter_raw())
        await door.answered(9)
        assert not await is_fetched()
        assert (await caller.get(f"{at}/large")).content == LARGE
        await door.answered(10)
        assert await is_fetched()


async def test_a_part_that_is_not_what_was_written_is_not_handed_over(
    shelf: Shelf, door: Door, tmp_path: Path
):
    tenant_id = uuid4()
    operation_id = await written(shelf, tenant_id, small=b"a few bytes")
    (tmp_path / f"x-{tenant_id.hex}" / str(operation_id) / "small").write_bytes(b"other bytes")
    for path in ("small", MANIFEST):
        assert (await door.inside.get(f"/api/v1/tenants/{tenant_id}/export/{path}")).status_code == 200
    receipt = await shelf.receipt(operation_id)
    assert receipt is not None
    assert receipt.fetched_at is None
