"""Somebody asks for something at every await of a run, and a worker dies at every await of that."""

from __future__ import annotations

from functools import partial

import pytest

from tests.simulation.breadth import BREADTH, Campaign
from tests.simulation.campaign import Tally, crash_everywhere, interventions
from tests.simulation.plan import OPERATORS, Plan, Wish


def _asked(run: str, workers: int, seeds: int, tally: Tally) -> None:
    for seed in range(seeds * BREADTH):
        interventions(run, seed, OPERATORS, tally, workers=workers)


def _hold_released(tally: Tally) -> None:
    """A hold is placed in the wait, the time comes meanwhile, or the hold is released before it."""
    for placed, released in ((30, 34), (40, 60), (50, 90), (60, 200)):
        wishes = (Wish(placed, "place_legal_hold"), Wish(released, "release_legal_hold"))
        crash_everywhere(tally, Plan(1, ("retention",), wishes=wishes))
        crash_everywhere(tally, Plan(1, ("retention",), wishes=(*wishes, Wish(90, "cancel_termination"))))


CAMPAIGNS = {
    "a suspension": Campaign(partial(_asked, "suspension", 1, 1), 1),
    "a resumption": Campaign(partial(_asked, "resumption", 1, 1), 1),
    "a suspension with two workers": Campaign(partial(_asked, "suspension", 2, 2), 1),
    "a resumption with two workers": Campaign(partial(_asked, "resumption", 2, 2), 1),
    "a termination in its wait, which is cancelled": Campaign(
        partial(interventions, "retention", 1, ("cancel_termination",), stride=4), 1
    ),
    "a termination in its wait, under a legal hold": Campaign(
        partial(interventions, "retention", 1, ("place_legal_hold",), stride=4), 1
    ),
    "a termination whose hold is released": Campaign(_hold_released, 1),
}


@pytest.mark.parametrize("run", CAMPAIGNS)
def test_an_operator_and_a_crash_at_every_await_of(run: str):
    CAMPAIGNS[run].check()
