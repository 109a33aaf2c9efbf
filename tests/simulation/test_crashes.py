"""A worker dies at every await of every saga, whatever failed before, and the next one as well."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from tests.simulation.breadth import BREADTH, STRIDE
from tests.simulation.campaign import Tally, crash_everywhere, failures, story, undisturbed
from tests.simulation.kinds import BEGINNINGS, KINDS
from tests.simulation.plan import Plan

SHORT, SEEDS = ("suspension", "resumption"), range(2 * BREADTH)
"""Sagas of one step, whose workers die in all pairs of places, in so many orders of things."""


@pytest.fixture(autouse=True)
def many() -> Iterator[None]:
    with undisturbed():
        yield


@pytest.mark.parametrize("run", BEGINNINGS)
def test_a_crash_at_every_await_also_after_failures_and_while_undoing(run: str):
    tally = Tally()
    for plan in islice(failures(run, seed=1), None, None, STRIDE):
        crash_everywhere(tally, plan)
    assert tally.wrong is None, story(tally.wrong)
    assert tally.schedules > 20 * len(KINDS[BEGINNINGS[run].kind].steps) ** 2 // STRIDE


@pytest.mark.parametrize("run", SHORT)
def test_two_crashes_at_every_pair_of_awaits(run: str):
    tally = Tally()
    for seed in SEEDS:
        crash_everywhere(tally, Plan(seed, (run,)), times=2)
    assert tally.wrong is None, story(tally.wrong)
    assert tally.schedules > 480 * len(SEEDS)
