"""Which partitions this worker holds: shared fairly among the workers that live, by rows in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from handlers.adapters.command_places import PLACES, Place
from handlers.adapters.standstill import Standstill
from handlers.adapters.together import Together
from handlers.store.connections import LASTING
from handlers.store.own_connection import OwnConnection

_TIMEOUT = 5.0
"""Seconds for an answer; the statements take milliseconds, so a slower database is one that is away."""


_OWN = f"{PLACES} WHERE owner = %s AND partition = ANY (%s)"

_MOVE = """
UPDATE service.command_progress
SET sequence = %(sequence)s, stream = %(stream)s, mark_sequence = %(sequence)s, mark_stored_at = %(stored_at)s
WHERE partition = %(partition)s AND owner = %(owner)s AND sequence = %(former)s RETURNING true"""


class Share(NamedTuple):
    """How many partitions are this worker's part, and which it holds."""

    size: int
    held: list[int]


class Claims:
    """One worker's claims, on a connection of its own: while that stands, the others know that it lives.

    `lease` is how many seconds a worker that hangs keeps its partitions, by the clocks of those that watch
    it. All methods raise psycopg.Error or TimeoutError when the database is away; the next call connects
    again.
    """

    def __init__(self, postgres_url: str, owner: UUID, *, lease: float = 3.0) -> None:
        self._url = postgres_url
        self.owner = owner
        self._lease = timedelta(seconds=lease)
        self._connection = OwnConnection(self._connect)
        self._turn = asyncio.Lock()
        self._moves = Together(self._moved)
        self._others = Standstill[UUID](lease / 6)
        self._dead: dict[UUID, datetime] = {}

    async def claim(self) -> Share:
        """Renew the lease and take what is free, up to a fair share."""
        rows = await self._rows(
            "SELECT * FROM service.claim_partitions(%s, %s, %s::uuid[], %s::timestamptz[])",
            (self.owner, self._lease, list(self._dead), list(self._dead.values())),
        )
        size, partitions, _, _, others, until = rows[0]
        leases = dict(zip(others, until, strict=True))
        still = self._others.look(leases)
        limit = self._lease.total_seconds()
        self._dead = {each: leases[each] for each, seconds in still.items() if seconds >= limit}
        return Share(size, partitions)

    async def release(self, partitions: Sequence[int]) -> None:
        """Give partitions back."""
        await self._rows("SELECT service.release_partitions(%s, %s)", (self.owner, list(partitions)))

    async def leave(self) -> None:
        """Give everything back, and close the connection."""
        try:
            await self._rows("SELECT service.leave_partitions(%s)", (self.owner,))
        finally:
            await self.close()

    async def places(self, partitions: Sequence[int]) -> dict[int, Place]:
        """Return where those of these partitions are now that this worker holds."""
        rows = await self._rows(_OWN, (self.owner, list(partitions)))
        return {partition: Place(*place) for partition, *place in rows}

    async def move(self, partition: int, former: Place, new: Place) -> bool:
        """Set a partition to another place without deciding anything; False when it is not at `former`."""
        values = {
            **new._asdict(),
            "partition": partition,
            "owner": self.owner,
            "former": former.sequence,
        }
        return await self._moves.ask(partition, values) is not None

    async def everywhere(self) -> dict[int, Place]:
        """Return where all partitions are, whoever holds them."""
        rows = await self._rows(PLACES, ())
        return {partition: Place(*place) for partition, *place in rows}

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _moved(self, moves: Mapping[int, Mapping[str, Any]]) -> dict[int, bool]:
        async with self._turn:
            connection = await self._connection.get()
            try:
                async with asyncio.timeout(_TIMEOUT), connection.pipeline():
                    cursors = {
                        partition: await connection.execute(_MOVE.encode(), values)
                        for partition, values in moves.items()
                    }
                return {partition: True for partition, cursor in cursors.items() if cursor.rowcount == 1}
            except TimeoutError:
                await connection.close()
                raise

    async def _rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement; its time begins with its turn, and with the connection."""
        async with self._turn:
            connection = await self._connection.get()
            try:
                async with asyncio.timeout(_TIMEOUT):
                    cursor = await connection.execute(statement.encode(), values)
                    return await cursor.fetchall() if cursor.description else []
            except TimeoutError:
                await connection.close()
                raise

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._url, application_name="tenants-partitions", options="-c statement_timeout=5s", **LASTING
        )
