"""What a schedule leaves unfinished ends with it."""

from __future__ import annotations

import asyncio

from tests.simulation.campaign import undisturbed
from tests.simulation.plan import random_plan
from tests.simulation.schedule import Schedule


def test_nothing_of_a_schedule_goes_on_in_the_event_loop_of_another_test():
    others = asyncio.new_event_loop()
    asyncio.set_event_loop(others)
    try:
        with undisturbed():
            for seed in range(60):
                Schedule(random_plan(seed)).run()
        assert asyncio.all_tasks(others) == set()
    finally:
        others.close()
        asyncio.set_event_loop(None)
