"""A saga that has all that one may have: its workers die and lose their database at every await."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.breadth import STRIDE, Campaign
from tests.simulation.campaign import (
    crash_after_failures,
    crash_and_outage,
    outage_and_crash,
    pause_after_failures,
)
from tests.simulation.plan import Plan

_ALONE = Plan(1, ("journey",))

CAMPAIGNS = {
    "a crash, also after failures and while undoing": Campaign(partial(crash_after_failures, "journey"), 1),
    "a database that goes away, and a crash": Campaign(
        partial(outage_and_crash, plan=_ALONE, seconds=0.2, stride=STRIDE), 1
    ),
    "a crash, and a database that goes away": Campaign(
        partial(crash_and_outage, plan=_ALONE, seconds=1.0, stride=STRIDE), 1
    ),
    "a worker that sleeps": Campaign(partial(pause_after_failures, "journey"), 1),
}


@pytest.mark.parametrize("trouble", CAMPAIGNS)
def test_a_journey_is_not_lost_by(trouble: str):
    CAMPAIGNS[trouble].check()
