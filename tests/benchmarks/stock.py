"""The library as it comes: an application in PostgreSQL, and a read model kept by its ProjectionRunner."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL


def environment(postgres_url: str, pool_size: int) -> dict[str, str]:
    """Return the library's settings for this database."""
    parts = urlsplit(postgres_url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "POSTGRES_HOST": parts.hostname or "",
        "POSTGRES_PORT": str(parts.port),
        "POSTGRES_USER": unquote(parts.username or ""),
        "POSTGRES_PASSWORD": unquote(parts.password or ""),
        "POSTGRES_POOL_SIZE": str(pool_size),
    }


class Account(Aggregate):
    """An aggregate with one thing to say."""

    def __init__(self, name: str) -> None:
        self.name = name

    @event("Renamed")
    def rename(self, name: str) -> None:
        """Take another name."""
        self.name = name


class Accounts(Application[UUID]):
    """The application that is projected."""


class Names(PostgresTrackingRecorder):
    """The read model: one row for each account, written with the position."""

    def __init__(self, datastore: PostgresDatastore, **more: Any) -> None:
        super().__init__(datastore, **more)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS bench_names (id uuid PRIMARY KEY, version bigint, name text)"
            ).format()
        )

    def put(self, account: UUID, version: int, name: str, tracking: Tracking) -> None:
        """Write the row of an account."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                SQL(
                    "INSERT INTO bench_names VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE "
                    "SET version = EXCLUDED.version, name = EXCLUDED.name"
                ),
                (account, version, name),
                prepare=True,
            )


class NamesProjection(Projection[Names]):
    """How events change the read model."""

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Take in an event."""
        self.view.put(
            domain_event.originator_id, domain_event.originator_version, domain_event.name, tracking
        )


@contextmanager
def running(postgres_url: str) -> Generator[ProjectionRunner[Accounts, Names]]:
    """Run the projection of all accounts, from where it was."""
    with ProjectionRunner(
        application_class=Accounts,
        projection_class=NamesProjection,
        view_class=Names,
        env=environment(postgres_url, 5),
    ) as runner:
        yield runner


def written(postgres_url: str, number: int) -> int:
    """Save so many accounts with two events each; returns the position of the last."""
    application = Accounts(env=environment(postgres_url, 5))
    try:
        accounts = [Account(f"Acme {n}") for n in range(number)]
        for account in accounts:
            account.rename("Acme")
        return application.save(*accounts)[-1].notification.id
    finally:
        application.close()


async def projected(postgres_url: str, upto: int) -> None:
    """Project the whole log anew, up to this position."""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as database:
        await database.execute("DROP TABLE IF EXISTS bench_names, namesprojection_tracking")
    await asyncio.to_thread(partial(_project, postgres_url, upto))


def _project(postgres_url: str, upto: int) -> None:
    with running(postgres_url) as runner:
        runner.wait(upto, timeout=300)
