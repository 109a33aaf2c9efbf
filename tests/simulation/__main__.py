"""`make simulate`: run random schedules, or replay one and tell it step by step.

make simulate SEEDS=10000            random schedules from seed 0 on
make simulate SEED=334               one of them, told
make simulate PLAN='[1,["upgrade"]…' one that a test gave, told
"""

from __future__ import annotations

import argparse
import sys

import msgspec

from tests.simulation.campaign import Tally, random_schedules, story, undisturbed
from tests.simulation.plan import Plan, random_plan
from tests.simulation.schedule import Schedule


def main() -> int:
    """Run what the command line asks for; 1 when something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="replay the random schedule of this seed")
    parser.add_argument("--plan", help="replay this plan (JSON)")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many random schedules to run")
    chosen = parser.parse_args()
    with undisturbed():
        if chosen.seed is not None:
            return _replayed(random_plan(chosen.seed))
        if chosen.plan is not None:
            return _replayed(msgspec.json.decode(chosen.plan, type=Plan))
        return _campaign(chosen.seeds)


def _replayed(plan: Plan) -> int:
    outcome = Schedule(plan, traced=True).run()
    print(plan, *outcome.trace, outcome.violation or "nothing was violated", sep="\n")
    return outcome.violation is not None


def _campaign(seeds: int) -> int:
    tally = Tally()
    random_schedules(tally, range(seeds))
    if tally.wrong is not None:
        print(story(tally.wrong))
        return 1
    print(f"{tally.schedules} schedules, nothing was violated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
