"""The read side on a database of a test's own: a log to append to, a projector, queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec

from handlers.projector.projector import Projector
from handlers.projector.rebuild import make, rebuild
from handlers.queries import Queries
from handlers.store.connections import Connections
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from handlers.wire.hints import Moved
from projections.read_model import ReadModel
from projections.registry import READ_MODELS
from tests.support.histories import History
from tests.support.keys import reading_keyring

MODELS = tuple(READ_MODELS.values())


class ReadSide:
    """What a test does to the read side. Nothing runs by itself: `project` brings the read models on."""

    def __init__(self, url: str, store: EventStore, connections: Connections) -> None:
        self.url = url
        self.store = store
        self.connections = connections
        self.history = History()
        self.moves: list[Moved] = []
        self.projector = self.another_projector()
        self.queries = Queries(connections, reading_keyring(connections))

    def another_projector(self, **more: Any) -> Projector:
        """Return a projector that is not running."""
        return Projector(self.store, self.connections, MODELS, self._announce, **more)

    async def _announce(self, position: int, moved: Sequence[Moved]) -> None:
        self.queries.positions.heard(position)
        for each in moved:
            self.queries.memory.heard(each)
            if each.upto > each.since:
                self.moves.append(each)

    async def make(self, *models: ReadModel) -> None:
        """Build read models, all when none is named."""
        for model in models or MODELS:
            await rebuild(self.url, self.connections, model)
        self.projector.refresh()

    async def project(self, projector: Projector | None = None) -> None:
        """Append what was added to the history, and project all of the log."""
        await self.history.append(self.store)
        projector = projector or self.projector
        await projector.reload()
        while await projector.step():
            pass

    async def ask(self, tenant: UUID | str, query: str, **fields: Any) -> Any:
        """Return the decoded answer to a query."""
        body = msgspec.json.encode(fields) if fields else b""
        return msgspec.json.decode(await self.queries.answer(str(tenant), query, body))

    async def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own."""
        return await self.connections.fetch(statement.encode(), values, prepare=False)

    async def execute(self, statement: str, *values: Any) -> None:
        """Run a statement that gives no rows."""
        async with self.connections.transaction() as transaction:
            await transaction.execute(statement.encode(), values)


async def somebody_waits(queries: Queries) -> None:
    """Return when a query waits for a position."""
    while not queries.positions.waiting:  # noqa: ASYNC110 nothing tells of it
        await asyncio.sleep(0.001)


@asynccontextmanager
async def read_side(postgres_url: str, readers: int = 6) -> AsyncGenerator[ReadSide]:
    """Open the read side on a fresh database; its read models are made."""
    await migrate(postgres_url)
    connections = Connections(
        postgres_url, readers=readers, statement_timeout=60, lock_timeout=60, idle_timeout=60, pool_timeout=60
    )
    async with EventStore(postgres_url, readers=2) as store:
        await connections.open()
        side = ReadSide(postgres_url, store, connections)
        try:
            for model in MODELS:
                await make(postgres_url, connections, model)
            side.projector.refresh()
            yield side
        finally:
            await side.queries.close()
            await connections.close()
