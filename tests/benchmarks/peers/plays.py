"""What plays on a side: the service with other sagas in the place of its own, or a peer's programs."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID, uuid4

import psycopg

from deploy.embedded import Endpoints
from handlers.client import Outcome, TenantClient
from tests.benchmarks.peers.engines import Peer, Restart
from tests.benchmarks.peers.programs import Ensemble, Program
from tests.benchmarks.peers.six_steps import TABLE
from tests.benchmarks.stage import Service, connection, folder, service

OPERATION_TIMEOUT = 120.0


class Ours(NamedTuple):
    """Our side: `programs` has the process of the role `sagas`, called `worker`."""

    client: TenantClient
    running: Service
    programs: Ensemble
    restart: Restart

    @property
    def pids(self) -> list[int]:
        """The service's processes, without the client, which is this one."""
        return [*self.running.pids, *self.programs.pids]


class Theirs(NamedTuple):
    """A peer's side, its client among the `programs`."""

    programs: Ensemble
    postgres_pid: int
    restart: Restart

    @property
    def client(self) -> Program:
        """The program that is told what to do."""
        return self.programs["client"]

    @property
    def pids(self) -> list[int]:
        """All processes that have a part in it."""
        return [*self.programs.pids, self.postgres_pid]


@asynccontextmanager
async def ours(endpoints: Endpoints, *options: str) -> AsyncGenerator[Ours]:
    """Run the service; `options` are those of `worker`."""
    where = {"TENANTS_NATS_URL": endpoints.nats_url, "TENANTS_POSTGRES_URL": endpoints.postgres_url}
    async with (
        service(endpoints, [("projections", "relay"), ("commands",)]) as running,
        connection(endpoints) as nc,
        _ensemble(where) as programs,
    ):

        async def start() -> None:
            command = (sys.executable, "-m", "tests.benchmarks.peers.worker", *options)
            await (await programs.start("worker", *command)).ready()

        await _make_table(endpoints)
        await start()
        yield Ours(TenantClient(nc), running, programs, start)


@asynccontextmanager
async def theirs(peer: Peer, endpoints: Endpoints, pause: float = 0.0) -> AsyncGenerator[Theirs]:
    """Run a peer; `pause` is how many seconds a step takes before its insert."""
    where = {"PEER_POSTGRES_URL": endpoints.postgres_url, "PEER_PAUSE": str(pause)}
    await _make_table(endpoints)
    async with _ensemble(where) as programs:
        yield Theirs(programs, endpoints.postgres_pid, await peer.start(programs))


async def _make_table(endpoints: Endpoints) -> None:
    async with await psycopg.AsyncConnection.connect(endpoints.postgres_url, autocommit=True) as database:
        await database.execute(TABLE)


@asynccontextmanager
async def _ensemble(environment: dict[str, str]) -> AsyncGenerator[Ensemble]:
    with folder() as own:
        programs = Ensemble(own, environment)
        try:
            yield programs
        finally:
            await programs.end()


async def ask(client: TenantClient) -> Outcome:
    """Ask for one of our sagas."""
    tenant = uuid4()
    return await client.provision(
        tenant_id=tenant,
        name="Acme",
        subdomain=f"t-{tenant.hex}",
        admin={"email": "ada@example.com", "name": "Ada"},
    )


async def provision(client: TenantClient) -> None:
    """Ask for one of our sagas, and wait for its end."""
    operation = await (await ask(client)).operation(OPERATION_TIMEOUT)
    assert operation is not None
    assert operation.status == "succeeded", operation


async def turn_back(client: TenantClient, tenant_id: UUID) -> None:
    """Ask for an upgrade, and wait until it is rolled back."""
    operation = await (await client.upgrade(tenant_id, "enterprise")).operation(OPERATION_TIMEOUT)
    assert operation is not None
    assert operation.status == "rolled_back", operation
