"""The role `commands` for each test: a database and names of its own on the shared servers."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from handlers.bus.commands import CommandsRole
from handlers.bus.streams import Limits, declare
from handlers.store.event_store import EventStore
from tests.handlers.bus.commands.service import Caller, role_on
from tests.support.bus import Bus, own_bus

LIMITS = Limits(partitions=8, commands_max_bytes=64 * 1024**2, dead_letters_max_bytes=8 * 1024**2)


@pytest.fixture
async def migrated(store_url: str) -> str:
    async with await psycopg.AsyncConnection.connect(store_url) as connection:
        await connection.execute(
            "DELETE FROM service.command_progress WHERE partition >= %s", (LIMITS.partitions,)
        )
    return store_url


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[EventStore]:
    async with EventStore(migrated) as opened:
        yield opened


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with own_bus(nats_url) as own:
        await declare(own.nc, own.subjects, own.streams, LIMITS)
        yield own


@pytest.fixture
async def role(nats_url: str, migrated: str, bus: Bus) -> AsyncIterator[CommandsRole]:
    async with role_on(nats_url, migrated, bus) as running:
        yield running


@pytest.fixture
async def caller(bus: Bus) -> Caller:
    one = Caller(bus)
    await one.listen()
    return one
