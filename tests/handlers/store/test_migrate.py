"""The schema is made once, whoever asks, and a newer one is left alone."""

import asyncio

import psycopg
import pytest

from handlers.store.migrate import SchemaTooNew, migrate, migrations


def numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT number FROM service.migrations ORDER BY number").fetchall()
    return [row[0] for row in found]


def partitions(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM service.command_progress").fetchone()
    return row[0] if row else 0


def test_the_files_are_numbered_without_a_gap():
    assert [file.number for file in migrations()] == list(range(1, len(migrations()) + 1))


async def test_processes_that_start_at_once_make_it_once(postgres_url: str):
    await asyncio.gather(*(migrate(postgres_url) for _ in range(4)))
    assert numbers(postgres_url) == [file.number for file in migrations()]
    assert partitions(postgres_url) == 64 + 1  # commands that belong to none have a row as well


async def test_a_second_time_changes_nothing_but_may_add_partitions(postgres_url: str):
    await migrate(postgres_url, partitions=2)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE service.command_progress SET sequence = 7")
    await migrate(postgres_url, partitions=3)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT partition, sequence FROM service.command_progress ORDER BY 1")
        assert found.fetchall() == [(-1, 7), (0, 7), (1, 7), (2, 0)]


async def test_an_older_schema_is_brought_up_to_date(postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    all_files = migrations()
    monkeypatch.setattr("handlers.store.migrate.migrations", lambda: all_files[:3])
    await migrate(postgres_url)
    assert numbers(postgres_url) == [1, 2, 3]
    monkeypatch.undo()
    await migrate(postgres_url)
    assert numbers(postgres_url) == [file.number for file in all_files]


async def test_a_newer_schema_is_refused(postgres_url: str):
    await migrate(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("INSERT INTO service.migrations (number, name) VALUES (9999, '9999_future.sql')")
    with pytest.raises(SchemaTooNew, match="9999"):
        await migrate(postgres_url)
