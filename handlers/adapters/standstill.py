"""Who stands still, by one's own monotonic clock: the clocks of servers jump, and times in rows with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


def _time() -> float:
    return asyncio.get_running_loop().time()


class Standstill(Generic[K]):
    """Notes for how long a value of each key has not changed, from look to look.

    Between two looks at most `step` seconds count: while nobody could look, nobody could move either.
    """

    def __init__(self, step: float, clock: Callable[[], float] = _time) -> None:
        self._step, self._clock = step, clock
        self._looked: float | None = None
        self._seen: dict[K, tuple[object, float]] = {}

    def look(self, values: Mapping[K, object]) -> dict[K, float]:
        """Return how many seconds each value has stood; a key that is not there is forgotten."""
        now = self._clock()
        passed = 0.0 if self._looked is None else min(now - self._looked, self._step)
        self._looked = now
        known, self._seen = self._seen, {}
        for key, value in values.items():
            former = known.get(key)
            stood = former[1] + passed if former is not None and former[0] == value else 0.0
            self._seen[key] = (value, stood)
        return {key: stood for key, (_, stood) in self._seen.items()}
