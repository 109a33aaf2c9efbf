"""A worker that is killed leaves its coroutines in the middle: nobody is to hear of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.campaign import undisturbed

_HERE = Path(__file__).parent
_LEFT = ("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder alone."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            for left in _LEFT:
                item.add_marker(pytest.mark.filterwarnings(left))


@pytest.fixture(autouse=True)
def many() -> Iterator[None]:
    """Let none of them be found in another test."""
    with undisturbed():
        yield
