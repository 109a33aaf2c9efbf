"""Where the rows play: embedded servers, processes of the service on them, and tenants that exist already."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats
from nats.aio.client import Client

from deploy.embedded import EmbeddedStack, Endpoints
from deploy.processes import ServiceProcess
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, encoded
from tenant_domain.decision import Event
from tenant_domain.tenant.decide import activated
from tenant_domain.tenant.events import AdminContact, ProvisioningStarted

LAZY = "2m"
"""The server's own default of `sync_interval`."""

PATIENCE = 300.0
"""Seconds that any one wait may take before a row is given up."""


@contextmanager
def folder() -> Generator[Path]:
    """Give a new folder that the database's own user can enter, and remove it at the end."""
    made = Path(tempfile.mkdtemp(prefix="tenants-bench-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def servers(sync: str = "always") -> AsyncGenerator[EmbeddedStack]:
    """Run NATS and PostgreSQL in a folder of their own, which goes with them."""
    with folder() as own:
        async with EmbeddedStack(own / "data", sync_interval=sync) as stack:
            yield stack


@asynccontextmanager
async def connection(endpoints: Endpoints) -> AsyncGenerator[Client]:
    """Open a connection to NATS that can hold a whole batch."""
    nc = await nats.connect(endpoints.nats_url, pending_size=64 * 1024 * 1024)
    try:
        yield nc
    finally:
        await nc.close()


@dataclass(frozen=True)
class Service:
    """Processes of the service, the servers that they use, their keys, and where HTTP is, if anywhere."""

    endpoints: Endpoints
    processes: list[ServiceProcess]
    keys: Path
    http: str

    @property
    def pids(self) -> list[int]:
        """All processes whose CPU is the service's own."""
        return [
            self.endpoints.nats_pid,
            self.endpoints.postgres_pid,
            *(process.pid for process in self.processes),
        ]


@asynccontextmanager
async def service(
    endpoints: Endpoints, processes: Sequence[tuple[str, ...]], **settings: str
) -> AsyncGenerator[Service]:
    """Run one process for each tuple of roles; `settings` as environment variables without their prefix."""
    with tempfile.TemporaryDirectory(prefix="tenants-bench-keys-") as keys:
        environment = {
            "TENANTS_NATS_URL": endpoints.nats_url,
            "TENANTS_POSTGRES_URL": endpoints.postgres_url,
            "TENANTS_OBJECTS_URL": f"file:{keys}/objects",
            "TENANTS_MASTER_KEY_FILE": f"{keys}/master.key",
            "TENANTS_SIGNING_KEY_FILE": f"{keys}/signing.pem",
            "TENANTS_CERTIFICATE_KEY_FILE": f"{keys}/certificates.pem",
            "TENANTS_CREATE_KEYS": "true",
            "TENANTS_HTTP_HOST": "127.0.0.1",
            "TENANTS_HTTP_PORT": "0",
            "TENANTS_LOG_LEVEL": "error",
            "TENANTS_ENVIRONMENT": "dev",
            **{f"TENANTS_{name.upper()}": value for name, value in settings.items()},
        }
        running = [
            ServiceProcess(f"{roles[0]}-{number}", roles, environment)
            for number, roles in enumerate(processes)
        ]
        try:
            said = await asyncio.gather(*(process.start() for process in running))
            http = next((each["http"] for each in said if each["http"]), "")
            yield Service(endpoints, running, Path(keys), http)
        finally:
            await asyncio.gather(*(process.stop() for process in running))


async def provisioned(postgres_url: str, number: int) -> list[UUID]:
    """Append active tenants straight to the log of a service that runs, and return their ids."""
    tenants = [uuid4() for _ in range(number)]
    async with EventStore(postgres_url) as store:
        for start in range(0, number, 500):
            batch = Batch()
            for group, tenant in enumerate(tenants[start : start + 500]):
                batch.events.extend(_history(tenant, group))
            assert not (await store.append(batch)).dropped
    return tenants


def _history(tenant: UUID, group: int) -> list[EventRow]:
    operation = uuid4()
    started = ProvisioningStarted(
        operation_id=str(operation),
        tenant_name="Acme",
        subdomain=f"t-{tenant.hex}",
        plan="free",
        region="eu-central",
        admin=AdminContact(email="ada@example.com", name="Ada"),
    )
    events: tuple[Event, ...] = (started, activated(operation))
    return [
        EventRow(tenant, tenant, version, event.name, encoded(event, Meta()), group)
        for version, event in enumerate(events, 1)
    ]


async def until(holds: Callable[[], Coroutine[Any, Any, bool]], pause: float = 0.01) -> None:
    """Wait until the awaited condition holds; what other processes do has no event to wait for."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(pause)


def everything(pids: Sequence[int]) -> list[int]:
    """Return `pids` and this process, whose children the rest are."""
    return [os.getpid(), *pids]
