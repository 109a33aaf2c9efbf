"""How much is simulated: the test run takes a part of it, `make simulate ALL=1` the whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.campaign import Tally, story

BREADTH = int(os.environ.get("SIMULATION_BREADTH", "1"))
"""Multiplies the seeds of each campaign."""

STRIDE = max(1, 6 // BREADTH)
"""Where two troubles meet in a long run, the first is at one of so many steps (breadth 6: at each)."""


class Campaign(NamedTuple):
    """Schedules that belong together, and how many at least go a way of their own."""

    schedules: Callable[[Tally], None]
    distinct: int

    def check(self) -> None:
        """Run them: nothing is violated, and there are as many as promised."""
        tally = Tally()
        self.schedules(tally)
        assert tally.wrong is None, story(tally.wrong)
        assert tally.distinct >= self.distinct
