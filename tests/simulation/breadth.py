"""How much is simulated: the test run takes a part of it, `make simulate ALL=1` the whole."""

from __future__ import annotations

import os

BREADTH = int(os.environ.get("SIMULATION_BREADTH", "1"))
"""Multiplies the seeds of each campaign."""

STRIDE = max(1, 8 // BREADTH)
"""Of the plans with failures one in so many is crashed everywhere; from a breadth of 8 on, each."""
