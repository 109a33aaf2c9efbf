"""Beats: when each engine of a process last went round its loop. One that stands still says nothing else."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Beat:
    """One engine's: it tells that it went round `well`, or that it has nothing to do until it is called."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at: float | None = clock()

    def well(self) -> None:
        """Tell that the engine went round, without trouble."""
        self._at = self._clock()

    def rest(self) -> None:
        """Tell that the engine waits until somebody gives it work, however long that is."""
        self._at = None

    def still(self) -> float:
        """Return how many seconds ago the engine last went round; 0 for one at rest."""
        return 0.0 if self._at is None else self._clock() - self._at


class Beats:
    """The beats of a process's engines. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._engines: dict[str, Beat] = {}

    def engine(self, name: str) -> Beat:
        """Return the beat of an engine that begins now."""
        beat = self._engines[name] = Beat(self._clock)
        return beat

    def standing_still(self, limit: float) -> dict[str, float]:
        """Return the engines that did not go round for more than `limit` seconds, and for how long."""
        return {name: still for name, beat in self._engines.items() if (still := beat.still()) > limit}
