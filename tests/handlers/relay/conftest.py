"""A log, a bus and relays of a test's own."""

from collections.abc import AsyncGenerator, AsyncIterator

import nats
import pytest
from nats.aio.client import Client

from deploy.embedded import EmbeddedStack
from handlers.bus.streams import Limits, declare
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from tests.support.bus import Bus, own_bus, own_names


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[EventStore]:
    async with EventStore(store_url) as opened:
        yield opened


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection, with declared streams of its own."""
    async with own_bus(nats_url) as own:
        await declare(own.nc, own.subjects, own.streams, Limits())
        yield own


@pytest.fixture
async def own(own_stack: EmbeddedStack) -> AsyncGenerator[tuple[Bus, EventStore]]:
    """A bus and a store on servers that may be killed."""
    nc: Client = await nats.connect(
        own_stack.endpoints.nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.05
    )
    bus = Bus(nc, *own_names())
    await migrate(own_stack.endpoints.postgres_url)
    await declare(*bus, Limits())
    async with EventStore(own_stack.endpoints.postgres_url) as store:
        yield bus, store
    await nc.close()
