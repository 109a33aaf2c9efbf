"""A house of its own for each test."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.handlers.saga_runner.house import House, house_at


@pytest.fixture
async def house(store_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with house_at(store_url, nats_url, tmp_path / "objects") as built:
        yield built


@pytest.fixture
def mid_month(house: House) -> None:
    """Let it be the middle of a month: no period ends while the test runs."""
    today = datetime.now(UTC)
    shift = today.replace(day=15) - today
    house.now = lambda: datetime.now(UTC) + shift
