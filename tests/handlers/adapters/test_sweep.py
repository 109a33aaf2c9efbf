"""The sweep of PostgreSQL's files: who shares one, what holds it up, and what it may not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from handlers.adapters.command_places import Place
from handlers.adapters.command_stream import CommandStream
from handlers.adapters.effects import EffectFailed
from handlers.adapters.sweep import MEANS, Means, Sweep
from tests.support.bus import own_bus
from tests.support.servers import SharedStack


class Door:
    """Gives connections when the test lets it; counts them. `role` is whom they act as."""

    def __init__(self, url: str, role: str | None = None) -> None:
        self.url, self.role = url, role
        self.opened = 0
        self.asked, self.free = asyncio.Event(), asyncio.Event()
        self.free.set()

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        self.asked.set()
        await self.free.wait()
        self.opened += 1
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            if self.role is not None:
                await connection.execute(f"SET ROLE {self.role}".encode())
            yield connection


@pytest.fixture
async def commands(nats_url: str) -> AsyncIterator[CommandStream]:
    """A stream that was never declared."""

    async def nowhere() -> dict[int, Place]:
        return {}

    async with own_bus(nats_url) as bus:
        yield CommandStream(bus.nc, bus.subjects, bus.streams.commands, nowhere)


async def test_all_that_wait_share_the_next_sweep_and_none_the_one_that_had_begun(
    store_url: str, commands: CommandStream
):
    door = Door(store_url)
    sweep = Sweep(door.connect, commands)
    door.free.clear()
    first = asyncio.create_task(sweep.done())
    await door.asked.wait()
    others = [asyncio.create_task(sweep.done()) for _ in range(100)]
    await asyncio.sleep(0)
    others[0].cancel()  # nobody else has less of it
    door.free.set()
    done = await asyncio.gather(first, *others[1:])
    assert door.opened == 2
    assert all(store.verified for stores in done for store in stores)


async def test_a_reader_that_still_sees_former_rows_fails_the_sweep_and_not_the_next_one(
    store_url: str, commands: CommandStream
):
    door = Door(store_url)
    sweep = Sweep(door.connect, commands)
    async with door.connect() as reader, door.connect() as writer:
        await writer.execute(
            "INSERT INTO service.tenant_keys (key_id, tenant_id, wrapped, created_at)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), 'a key', now())"
        )
        async with reader.transaction():
            await reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await reader.execute("SELECT 1 FROM service.event_head")
            await writer.execute("UPDATE service.tenant_keys SET wrapped = NULL, destroyed_at = now()")
            with pytest.raises(EffectFailed, match="A reader of the database"):
                await sweep.done()
    assert all(store.verified for store in await sweep.done())


async def test_what_the_operator_does_not_allow_is_said_and_how_to_allow_it(
    stack: SharedStack, store_url: str, commands: CommandStream
):
    door = Door(store_url)
    async with door.connect() as connection:
        role = f"plain_{await _database(connection)}"
        await connection.execute(f"CREATE ROLE {role}".encode())
        await connection.execute(f"GRANT {role} TO CURRENT_USER".encode())
        await connection.execute(f"GRANT USAGE ON SCHEMA service TO {role}".encode())
        await connection.execute(f"GRANT MAINTAIN ON service.tenant_keys TO {role}".encode())
        await stack.as_superuser(store_url, f"GRANT pg_monitor TO {role}")
        assert await _missing(connection) == []
        await connection.execute(f"SET ROLE {role}".encode())
        missing = await _missing(connection)
    assert [step.rpartition(" TO ")[0] for step in missing] == [
        "GRANT pg_checkpoint",
        "GRANT EXECUTE ON FUNCTION pg_switch_wal()",
        "GRANT MAINTAIN ON pg_catalog.pg_statistic",
        "GRANT MAINTAIN ON pg_catalog.pg_largeobject",
    ]
    said = {store.store: store for store in await Sweep(Door(store_url, role).connect, commands).done()}
    assert {store.store for store in said.values() if store.verified} == {"server log", "temporary files"}
    assert said["pg_statistic"].how.endswith("the service may not rewrite the catalogue")
    assert said["write-ahead log"].how.endswith("the service may not ask for one")


async def test_write_ahead_log_that_is_kept_and_a_log_of_errors_are_named_as_not_erased(
    stack: SharedStack, store_url: str, commands: CommandStream
):
    database = urlsplit(store_url).path.removeprefix("/")
    await stack.as_superuser(store_url, "ALTER SYSTEM SET wal_keep_size = '64MB'")
    try:
        await stack.as_superuser(store_url, "SELECT pg_reload_conf()")
        await stack.as_superuser(store_url, f"ALTER DATABASE {database} RESET log_min_messages")
        door = Door(store_url)
        await _until_kept(door)
        said = {store.store: store for store in await Sweep(door.connect, commands).done()}
        async with door.connect() as connection:
            missing = await _missing(connection)
    finally:
        await stack.as_superuser(store_url, "ALTER SYSTEM RESET wal_keep_size")
        await stack.as_superuser(store_url, "SELECT pg_reload_conf()")
    assert not said["write-ahead log"].verified
    assert said["write-ahead log"].how == "not removed: wal_keep_size is 64MB"
    assert not said["server log"].verified
    assert [step.split()[0] for step in missing] == ["keep", "ALTER"]


async def _until_kept(door: Door) -> None:
    async with door.connect() as connection:
        for _ in range(600):
            row = await (await connection.execute("SHOW wal_keep_size")).fetchone()
            if row == ("64MB",):
                return
            await asyncio.sleep(0.1)
    pytest.fail("the server did not read its settings within 60 s")


async def _missing(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    row = await (await connection.execute(MEANS)).fetchone()
    assert row is not None
    return Means(*row).missing()


async def _database(connection: psycopg.AsyncConnection[Any]) -> str:
    row = await (await connection.execute("SELECT current_database()")).fetchone()
    assert row is not None
    return row[0]
