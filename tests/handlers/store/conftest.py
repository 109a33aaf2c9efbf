"""A store of its own for each test, and batches in a few words."""

from collections.abc import AsyncIterator

import pytest

from handlers.store.event_store import EventStore


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[EventStore]:
    async with EventStore(store_url) as opened:
        yield opened
