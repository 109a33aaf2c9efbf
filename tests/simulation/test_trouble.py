"""Everything else that may happen to runs: sleep, operators, outages, and all of it together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.breadth import BREADTH
from tests.simulation.campaign import (
    Tally,
    crash_everywhere,
    interventions,
    pause_everywhere,
    random_schedules,
    story,
    undisturbed,
)
from tests.simulation.kinds import BEGINNINGS
from tests.simulation.plan import OPERATORS, Failing, Plan, random_plan
from tests.simulation.schedule import Schedule

SEEDS = 2_000 * BREADTH


@pytest.fixture(autouse=True)
def many() -> Iterator[None]:
    with undisturbed():
        yield


@pytest.mark.parametrize("run", BEGINNINGS)
def test_a_worker_that_slept_at_any_await_does_no_harm_when_it_wakes_up(run: str):
    tally = Tally()
    for call in range(5):
        failing = (Failing(call, "for_good"),) if call else ()
        for seconds in (1.3, 2.5):
            pause_everywhere(tally, Plan(1, (run,), workers=2, failing=failing), seconds)
    assert tally.wrong is None, story(tally.wrong)


@pytest.mark.parametrize("run", ["suspension", "resumption"])
def test_an_operator_at_every_await_and_a_crash_at_every_await(run: str):
    tally = Tally()
    for seed in range(BREADTH):
        interventions(run, seed, OPERATORS, tally)
    assert tally.wrong is None, story(tally.wrong)
    assert tally.schedules > 1_500 * BREADTH


@pytest.mark.parametrize(
    "seeds", [range(SEEDS // 2), range(SEEDS // 2, SEEDS)], ids=["one half", "the other"]
)
def test_trouble_of_all_sorts_at_once(seeds: range):
    tally = Tally()
    random_schedules(tally, seeds)
    assert tally.wrong is None, story(tally.wrong)


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
