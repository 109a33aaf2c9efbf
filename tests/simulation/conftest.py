"""A worker that is killed leaves its coroutines in the middle: nobody is to hear of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.campaign import undisturbed

LIMIT = 840
"""Seconds of a campaign: it computes for a minute or two alone, and longer beside others."""

_HERE = Path(__file__).parent
_LEFT = ("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder alone."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.timeout(LIMIT))
            for left in _LEFT:
                item.add_marker(pytest.mark.filterwarnings(left))


@pytest.fixture(autouse=True)
def many() -> Iterator[None]:
    """Let none of them be found in another test."""
    with undisturbed():
        yield
