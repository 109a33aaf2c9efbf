"""A connection of one's own, which is made when it is asked for, and anew when it has ended.

It is made by a task of its own: whoever waits for it may give up, the attempt goes on. A slow network takes
seconds to connect over, and an attempt that is begun anew at each time limit never comes to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import psycopg

C = TypeVar("C", bound=psycopg.AsyncConnection[Any])


class OwnConnection(Generic[C]):
    """Made by `connect`, which bounds an attempt. Errors are those of `connect`."""

    def __init__(self, connect: Callable[[], Awaitable[C]]) -> None:
        self._connect = connect
        self._making: asyncio.Task[C] | None = None

    @property
    def standing(self) -> C | None:
        """The connection, while there is one."""
        making = self._making
        if making is None or not making.done() or making.cancelled() or making.exception() is not None:
            return None
        return None if making.result().closed else making.result()

    async def get(self) -> C:
        """Return the connection, when it is there. Raises psycopg.Error and OSError."""
        if self._making is None or (self._making.done() and self.standing is None):
            self._making = asyncio.create_task(self._made(), name="connecting to PostgreSQL")
            self._making.add_done_callback(_looked_at)
        return await asyncio.shield(self._making)

    async def close(self) -> None:
        """Close the connection; an attempt under way is given up."""
        if self._making is None:
            return
        if not self._making.done():
            self._making.cancel()
            await asyncio.wait([self._making])
        if (connection := self.standing) is not None:
            await connection.close()

    async def _made(self) -> C:
        return await self._connect()


def _looked_at(making: asyncio.Task[Any]) -> None:
    """Look at an attempt that nobody waits for any more, so that nobody is warned of its error."""
    if not making.cancelled():
        making.exception()
