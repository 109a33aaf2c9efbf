"""Whether the database can be written to now: asked on a connection of its own, by a small write."""

from __future__ import annotations

import asyncio

import psycopg

from handlers.store.connections import LASTING
from handlers.store.errors import StoreUnavailable
from handlers.store.own_connection import OwnConnection

_WRITE = b"""
SELECT CASE WHEN pg_is_in_recovery() THEN 'it is a standby, or still recovers'
    WHEN current_setting('transaction_read_only')::boolean THEN 'it is read-only'
    WHEN pg_logical_emit_message(true, 'tenants', 'health') IS NULL THEN 'it writes nothing' END"""
"""A message in the log of writes, which nobody reads: its commit waits for whatever any commit waits for, the
disk and synchronous standbys, and no table grows by it."""

PATIENCE = 5.0
"""Seconds after which a connection without an answer is given up, for the next look to have a new one."""


class Writable:
    """Asks from `ask` to `close`."""

    def __init__(self, postgres_url: str) -> None:
        self._connection = OwnConnection[psycopg.AsyncConnection](
            lambda: psycopg.AsyncConnection.connect(
                postgres_url,
                application_name="tenants-health",
                options="-c statement_timeout=5s",
                **LASTING,
            )
        )

    async def ask(self) -> None:
        """Return when something was written. Raises StoreUnavailable with why not, and psycopg.Error."""
        connection = await self._connection.get()
        try:
            async with asyncio.timeout(PATIENCE):
                row = await (await connection.execute(_WRITE)).fetchone()
        except (psycopg.Error, TimeoutError):
            connection.pgconn.finish()  # at once: a driver would first ask a silent server to cancel
            raise
        if row is not None and row[0] is not None:
            raise StoreUnavailable(row[0])

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
