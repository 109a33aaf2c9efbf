"""Everything else that may happen to runs: sleep, outages, all of it together, and late effects."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.breadth import BREADTH, Campaign
from tests.simulation.campaign import (
    Tally,
    crash_everywhere,
    late_effects,
    pause_after_failures,
    random_schedules,
    story,
)
from tests.simulation.plan import Plan, random_plan
from tests.simulation.schedule import Schedule

_HALF = 2_000 * BREADTH

CAMPAIGNS = {
    **{
        f"a worker asleep in a {run}": Campaign(partial(pause_after_failures, run), distinct)
        for run, distinct in (
            ("provisioning", 1),
            ("suspension", 1),
            ("resumption", 1),
            ("upgrade", 1),
            ("termination", 1),
            ("retention", 1),
        )
    },
    "a late effect and a crash": Campaign(partial(late_effects, crashes=True), 1),
    "all sorts of trouble": Campaign(partial(random_schedules, seeds=range(_HALF)), 1),
    "more of all sorts": Campaign(partial(random_schedules, seeds=range(_HALF, 2 * _HALF)), 1),
}


@pytest.mark.parametrize("trouble", CAMPAIGNS)
def test_nothing_is_lost_or_done_twice_by(trouble: str):
    CAMPAIGNS[trouble].check()


def test_a_seed_gives_the_same_schedule_again():
    for seed in range(40):
        plan = random_plan(seed)
        one, other = (Schedule(plan, traced=True).run().trace for _ in range(2))
        assert one == other


def test_a_crash_is_where_the_plan_has_it():
    tally = Tally()
    crash_everywhere(tally, Plan(3, ("provisioning",)))
    assert tally.wrong is None, story(tally.wrong)
    killed = Schedule(Plan(3, ("provisioning",), crashes=(30,)), traced=True).run()
    assert [line for line in killed.trace if "step   30" in line and line.endswith("is killed")]
