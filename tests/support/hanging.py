"""A server that hangs: whether we let go of it sooner than a driver that asks it to stop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

import psycopg

from deploy.embedded import EmbeddedStack

T = TypeVar("T")


class Hung:
    """A PostgreSQL that hangs, and what the plain driver makes of that."""

    def __init__(self, plain: asyncio.Task[None]) -> None:
        self._plain = plain

    async def sooner(self, *work: Awaitable[T]) -> list[T]:
        """Return what `work` gives; fails when the plain driver is free before it."""
        ours = asyncio.gather(*work)
        await asyncio.wait({ours, self._plain}, return_when=asyncio.FIRST_COMPLETED)
        assert not self._plain.done()
        return await ours


@asynccontextmanager
async def hung(stack: EmbeddedStack) -> AsyncGenerator[Hung]:
    """Stop PostgreSQL in its tracks, and let it go on afterwards."""
    connection = await psycopg.AsyncConnection.connect(stack.endpoints.postgres_url, autocommit=True)
    stack.pause("postgres")
    plain = asyncio.create_task(_plainly(connection))
    try:
        yield Hung(plain)
    finally:
        stack.resume("postgres")
        await plain
        await connection.close()


async def _plainly(connection: psycopg.AsyncConnection) -> None:
    """Ask with a time limit: the driver then waits for the server to cancel what was asked."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await connection.execute("SELECT 1")
