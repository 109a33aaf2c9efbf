"""A bus of a test's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.bus import Bus, own_bus


@pytest.fixture
async def bus(nats_url: str) -> AsyncGenerator[Bus]:
    """Subjects and streams that no other test uses."""
    async with own_bus(nats_url) as own:
        yield own
