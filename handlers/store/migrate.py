"""The schema `service`, made and brought up to date by numbered SQL files, each applied once."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import psycopg
import structlog

log = structlog.get_logger()

_BEGIN = b"""
DO $$ BEGIN
    CREATE SCHEMA IF NOT EXISTS service;
    CREATE TABLE IF NOT EXISTS service.migrations (
        number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
EXCEPTION WHEN duplicate_schema OR duplicate_table OR unique_violation THEN
    NULL;  -- another process was quicker, and has committed
END $$"""

_TURN = b"LOCK TABLE service.migrations IN EXCLUSIVE MODE"
"""One migration at a time. An advisory lock would be anybody's who may connect, a tenant's too."""


class SchemaTooNew(Exception):
    """The database was migrated by a newer version of the service than this one."""


class Migration(NamedTuple):
    """One numbered file."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return the schema's files in order."""
    folder = files("handlers.store") / "schema"
    found = (path for path in folder.iterdir() if path.name.endswith(".sql"))
    return sorted(Migration(int(path.name[:4]), path.name, path.read_text("utf-8")) for path in found)


async def migrate(postgres_url: str, *, partitions: int = 64) -> None:
    """Bring the schema `service` up to date; a second call changes nothing.

    `partitions` rows of command_progress are made, and one for commands that belong to no partition (number
    -1); those that are there stay as they are.
    Raises SchemaTooNew, and psycopg.OperationalError when the database cannot be reached.
    """
    connecting = psycopg.AsyncConnection.connect(postgres_url, autocommit=True, connect_timeout=10)
    async with await connecting as connection:
        await connection.execute(_BEGIN)
        await _bring_up_to_date(connection, partitions)


async def _bring_up_to_date(connection: psycopg.AsyncConnection, partitions: int) -> None:
    async with connection.transaction():
        await connection.execute(_TURN)
        known = migrations()
        cursor = await connection.execute("SELECT coalesce(max(number), 0) FROM service.migrations")
        row = await cursor.fetchone()
        present: int = row[0] if row else 0
        if present > known[-1].number:
            raise SchemaTooNew(f"the schema is at {present}, this version knows {known[-1].number}")
        for migration in known:
            if migration.number > present:
                await _apply(connection, migration)
        await connection.execute(
            "INSERT INTO service.command_progress (partition) SELECT generate_series(-1, %s - 1)"
            " ON CONFLICT DO NOTHING",
            (partitions,),
        )


async def _apply(connection: psycopg.AsyncConnection, migration: Migration) -> None:
    await connection.execute(migration.sql.encode())
    await connection.execute(
        "INSERT INTO service.migrations (number, name) VALUES (%s, %s)", (migration.number, migration.name)
    )
    log.info("schema migrated", number=migration.number, file=migration.name)
