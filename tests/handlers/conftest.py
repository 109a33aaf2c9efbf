"""The read side, for the projector, the queries and their door."""

from collections.abc import AsyncIterator

import pytest

from tests.support.readside import ReadSide, read_side


@pytest.fixture
async def side(read_url: str) -> AsyncIterator[ReadSide]:
    """Read models on a log of this test's own; nothing runs by itself."""
    async with read_side(read_url) as opened:
        yield opened
