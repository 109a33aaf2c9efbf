"""How often Python looks for garbage in cycles: rarely, because we make next to none."""

from __future__ import annotations

import gc

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 10
"""Containers that may be new before a look at them, and looks before one at the next older generation."""


def collect_rarely() -> None:
    """Spare what lives already from every later look, and look at the rest seldom.

    Python's own thresholds (700, 10, 10) cost a command worker half of its time: what is read ahead, decided
    and cached goes by its reference counts, and each look only finds it alive. What is in cycles (a
    traceback and its frame) still goes, some megabytes later. Call it once a process has been composed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
