"""A worker dies, and the database goes away or loses an answer before or after that."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.breadth import STRIDE, Campaign
from tests.simulation.campaign import Tally, crash_and_outage, outage_and_crash, unsure_and_crash
from tests.simulation.plan import Plan


def _with_the_database(run: str, tally: Tally) -> None:
    alone = Plan(1, (run,))
    stride = 1 if run in ("suspension", "resumption") else STRIDE
    for seconds in (0.2, 1.0):
        outage_and_crash(tally, alone, seconds, stride)
        crash_and_outage(tally, alone, seconds, stride)
    unsure_and_crash(tally, alone)


CAMPAIGNS = {
    run: Campaign(partial(_with_the_database, run), distinct)
    for run, distinct in (
        ("provisioning", 900),
        ("suspension", 2_400),
        ("resumption", 2_400),
        ("upgrade", 1_300),
        ("termination", 1_500),
        ("retention", 1_500),
    )
}


@pytest.mark.parametrize("run", CAMPAIGNS)
def test_a_worker_dies_and_the_database_fails_before_or_after_that(run: str):
    CAMPAIGNS[run].check()
