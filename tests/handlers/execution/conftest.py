"""Executors on a database of their own, and commands in a few words."""

from collections.abc import AsyncIterator

import pytest

from handlers.execution.executor import Executor
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from tests.handlers.execution.commands import executor_on


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[EventStore]:
    await migrate(postgres_url)
    async with EventStore(postgres_url) as opened:
        yield opened


@pytest.fixture
async def executor(store: EventStore) -> AsyncIterator[Executor]:
    one = executor_on(store)
    await one.start()
    yield one
    await one.stop()
