"""A worker dies at every await of every saga, whatever failed before, and also while a run is undone."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.breadth import Campaign
from tests.simulation.campaign import crash_after_failures

CAMPAIGNS = {
    run: Campaign(partial(crash_after_failures, run), distinct)
    for run, distinct in (
        ("provisioning", 1),
        ("suspension", 1),
        ("resumption", 1),
        ("upgrade", 1),
        ("termination", 1),
        ("retention", 1),
    )
}


@pytest.mark.parametrize("run", CAMPAIGNS)
def test_a_crash_at_every_await_also_after_failures_and_while_undoing(run: str):
    CAMPAIGNS[run].check()
