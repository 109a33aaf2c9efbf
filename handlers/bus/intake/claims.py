"""Which partitions this worker holds: shared fairly among the workers that live, by rows in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from handlers.adapters.command_stream import PLACES
from handlers.adapters.standstill import Standstill
from handlers.adapters.together import Together
from handlers.store.connections import LASTING
from handlers.store.own_connection import OwnConnection

_TIMEOUT = 5.0
"""Seconds for an answer; the statements take milliseconds, so a slower database is one that is away."""


class Place(NamedTuple):
    """Up to which sequence a partition is decided, in the stream that was made at `stream` (None: any)."""

    sequence: int
    stream: str | None


class Share(NamedTuple):
    """How many partitions are this worker's part, and which it holds."""

    size: int
    held: dict[int, Place]


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
        self._asked = Together(self._places)
        self._moves = Together(self._moved)
        self._others = Standstill[UUID](lease / 6)
        self._dead: dict[UUID, datetime] = {}

    async def claim(self) -> Share:
        """Renew the lease and take what is free, up to a fair share."""
        rows = await self._rows(
            "SELECT * FROM service.claim_partitions(%s, %s, %s::uuid[], %s::timestamptz[])",
            (self.owner, self._lease, list(self._dead), list(self._dead.values())),
        )
        size, partitions, sequences, streams, others, until = rows[0]
        leases = dict(zip(others, until, strict=True))
        still = self._others.look(leases)
        limit = self._lease.total_seconds()
        self._dead = {each: leases[each] for each, seconds in still.items() if seconds >= limit}
        places = map(Place, sequences, streams)
        return Share(size, dict(zip(partitions, places, strict=True)))

    async def release(self, partitions: Sequence[int]) -> None:
        """Give partitions back."""
        await self._rows("SELECT service.release_partitions(%s, %s)", (self.owner, list(partitions)))

    async def leave(self) -> None:
        """Give everything back, and close the connection."""
        try:
            await self._rows("SELECT service.leave_partitions(%s)", (self.owner,))
        finally:
            await self.close()

    async def place(self, partition: int) -> Place | None:
        """Return where a partition is now; None when another worker holds it."""
        return await self._asked.ask(partition, None)

    async def move(self, partition: int, former: Place, new: Place) -> bool:
        """Set a partition to another place without deciding anything; False when it is not at `former`."""
        return await self._moves.ask(partition, (former, new)) is not None

    async def everywhere(self) -> dict[int, Place]:
        """Return where all partitions are, whoever holds them."""
        rows = await self._rows(PLACES, ())
        return {partition: Place(sequence, stream) for partition, sequence, stream in rows}

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _places(self, asked: Mapping[int, None]) -> dict[int, Place]:
        rows = await self._rows(
            "SELECT partition, sequence, stream FROM service.command_progress"
            " WHERE partition = ANY (%s) AND owner = %s",
            (list(asked), self.owner),
        )
        return {partition: Place(sequence, stream) for partition, sequence, stream in rows}

    async def _moved(self, moves: Mapping[int, tuple[Place, Place]]) -> dict[int, bool]:
        rows = await self._rows(
            "UPDATE service.command_progress c SET sequence = m.sequence, stream = m.stream"
            " FROM unnest(%s::integer[], %s::bigint[], %s::bigint[], %s::text[])"
            " AS m (partition, former, sequence, stream)"
            " WHERE c.partition = m.partition AND c.owner = %s AND c.sequence = m.former"
            " RETURNING c.partition",
            (
                list(moves),
                [former.sequence for former, _ in moves.values()],
                [new.sequence for _, new in moves.values()],
                [new.stream for _, new in moves.values()],
                self.owner,
            ),
        )
        return {partition: True for (partition,) in rows}

    async def _rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
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
