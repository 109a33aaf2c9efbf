"""Two troubles in one schedule: two crashes, a crash and a database that goes away or loses an answer."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.breadth import BREADTH, STRIDE, Campaign
from tests.simulation.campaign import (
    Tally,
    crash_and_outage,
    crash_everywhere,
    outage_and_crash,
    unsure_and_crash,
)
from tests.simulation.plan import Plan


def _two_crashes(run: str, workers: int, seeds: int, tally: Tally) -> None:
    for seed in range(seeds * BREADTH):
        crash_everywhere(tally, Plan(seed, (run,), workers), times=2)


def _with_the_database(run: str, tally: Tally) -> None:
    alone = Plan(1, (run,))
    stride = 1 if run in ("suspension", "resumption") else STRIDE
    for seconds in (0.2, 1.0):
        outage_and_crash(tally, alone, seconds, stride)
        crash_and_outage(tally, alone, seconds, stride)
    unsure_and_crash(tally, alone)


CRASHES = {
    run: Campaign(partial(_two_crashes, run, workers, seeds), distinct)
    for run, workers, seeds, distinct in (
        ("provisioning", 1, 1, 1),
        ("upgrade", 1, 1, 1),
        ("termination", 1, 1, 1),
        ("suspension", 2, 16, 1),
        ("resumption", 2, 16, 1),
    )
}
DATABASE = {
    run: Campaign(partial(_with_the_database, run), distinct)
    for run, distinct in (
        ("provisioning", 1),
        ("suspension", 1),
        ("resumption", 1),
        ("upgrade", 1),
        ("termination", 1),
        ("retention", 1),
    )
}


@pytest.mark.parametrize("run", CRASHES)
def test_two_workers_die_one_after_the_other_at_every_pair_of_awaits(run: str):
    CRASHES[run].check()


@pytest.mark.parametrize("run", DATABASE)
def test_a_worker_dies_and_the_database_fails_before_or_after_that(run: str):
    DATABASE[run].check()
