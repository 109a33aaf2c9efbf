"""How many schedules a test run sees."""

from __future__ import annotations

from tests.simulation import test_crashes, test_journeys, test_operators, test_pairs, test_trouble


def test_a_test_run_sees_a_hundred_thousand_schedules_none_like_another_of_its_campaign():
    campaigns = (
        test_crashes.CAMPAIGNS,
        test_journeys.CAMPAIGNS,
        test_operators.CAMPAIGNS,
        test_pairs.CRASHES,
        test_pairs.DATABASE,
        test_trouble.CAMPAIGNS,
    )
    assert sum(each.distinct for group in campaigns for each in group.values()) >= 100_000
