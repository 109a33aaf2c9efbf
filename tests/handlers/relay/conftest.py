"""A log, a bus and relays of a test's own."""

from collections.abc import AsyncIterator

import pytest

from handlers.bus.streams import Limits, declare
from handlers.store.event_store import EventStore
from tests.support.bus import Bus, own_bus


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
