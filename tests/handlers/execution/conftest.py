"""Executors on a database of their own, and commands in a few words."""

from collections.abc import AsyncIterator

import pytest

from handlers.execution.executor import Executor
from handlers.store.event_store import EventStore
from tests.handlers.execution.commands import executor_on


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[EventStore]:
    async with EventStore(store_url) as opened:
        yield opened


@pytest.fixture
async def executor(store: EventStore) -> AsyncIterator[Executor]:
    one = executor_on(store)
    await one.start()
    yield one
    await one.stop()
