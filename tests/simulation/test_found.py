"""What the simulation found once stays mended, however the schedules of a seed change."""

from __future__ import annotations

import pytest

from tests.simulation.campaign import story
from tests.simulation.plan import Failing, Outage, Pause, Plan, Wish
from tests.simulation.schedule import Schedule

FOUND = {
    "a run whose taking was not answered is taken again": Plan(
        5, ("suspension",), 2, outages=(Outage(11, 0.2),)
    ),
    "a late effect is taken back although its undoing failed as the lease was lost": Plan(
        11553,
        ("upgrade",),
        3,
        pauses=(Pause(35, 2.5),),
        failing=(Failing(6, "stumbles"), Failing(2, "after")),
        wishes=(Wish(85, "cancel_operation"),),
    ),
}


@pytest.mark.parametrize("found", FOUND)
def test_it_holds_that(found: str):
    outcome = Schedule(FOUND[found]).run()
    assert outcome.violation is None, story(outcome)
