"""Read models and the queries over them."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from handlers.bootstrap.process import Process
from handlers.projector.metrics import ProjectorMetrics
from handlers.projector.role import ProjectionsRole
from handlers.queries import Hearing, Queries
from handlers.store.connections import Connections


async def reading(process: Process, started: AsyncExitStack) -> Queries:
    """Return what answers queries, listening to the projectors' hints; it ends with `started`."""
    settings = process.settings
    connections = Connections(
        process.postgres_url,
        readers=settings.pool_size,
        statement_timeout=settings.unavailable_after,
        lock_timeout=settings.unavailable_after,
        idle_timeout=5,
        pool_timeout=settings.unavailable_after,
        plans="auto",
        incarnation=process.store.incarnation,
    )
    await connections.open()
    started.push_async_callback(connections.close)
    queries = Queries(
        connections,
        process.keyring,
        concurrency=settings.query_concurrency,
        unavailable_after=settings.unavailable_after,
        policy=settings.policy(),
    )
    started.push_async_callback(queries.close)
    hearing = Hearing(process.nc, queries, process.subjects)
    await hearing.start()
    started.push_async_callback(hearing.stop)
    _hear_at_once(process, queries)
    return queries


def _hear_at_once(process: Process, queries: Queries) -> None:
    """Have what this process writes known to its own queries without a way over the bus."""
    tell = process.store.announce

    def announce(tenants: Sequence[str]) -> None:
        queries.memory.written(tenants)
        tell(tenants)

    process.store.announce = announce


class ReadyProjections:
    """The projections, started once their read models can be asked."""

    def __init__(self, role: ProjectionsRole) -> None:
        self._role = role
        self.stop = role.stop

    async def start(self) -> None:
        """Return when every read model is there."""
        await self._role.start()
        await self._role.ready()


def projections_role(process: Process) -> ReadyProjections:
    """Return the projector of all read models."""
    role = ProjectionsRole(
        process.nc,
        process.store,
        process.postgres_url,
        process.subjects,
        poll=process.settings.poll_interval,
        metrics=ProjectorMetrics(),
        commits=process.commits,
        beats=process.beats,
    )
    return ReadyProjections(role)
