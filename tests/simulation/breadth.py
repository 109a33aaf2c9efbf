"""How much is simulated: the test run takes a part of it, `make simulate ALL=1` the whole."""

from __future__ import annotations

import os

BREADTH = int(os.environ.get("SIMULATION_BREADTH", "1"))
"""Multiplies the seeds of each campaign: at 12 there are more than 100,000 schedules."""

STRIDE = max(1, 8 // BREADTH)
"""Of the plans with failures every eighth is crashed everywhere, at full breadth each."""
