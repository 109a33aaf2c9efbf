"""Two workers die, one after the other, at every pair of awaits."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.breadth import BREADTH, Campaign
from tests.simulation.campaign import Tally, crash_everywhere
from tests.simulation.plan import Plan


def _two_crashes(run: str, workers: int, seeds: int, tally: Tally) -> None:
    for seed in range(seeds * BREADTH):
        crash_everywhere(tally, Plan(seed, (run,), workers), times=2)


CAMPAIGNS = {
    run: Campaign(partial(_two_crashes, run, workers, seeds), distinct)
    for run, workers, seeds, distinct in (
        ("provisioning", 1, 1, 1_600),
        ("upgrade", 1, 1, 2_200),
        ("termination", 1, 1, 2_500),
        ("suspension", 2, 16, 19_500),
        ("resumption", 2, 16, 19_500),
    )
}


@pytest.mark.parametrize("run", CAMPAIGNS)
def test_two_workers_die_one_after_the_other_at_every_pair_of_awaits(run: str):
    CAMPAIGNS[run].check()
