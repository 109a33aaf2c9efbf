"""Campaigns: many schedules, each of another plan, until one of them goes wrong."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import count, product

import msgspec
import structlog

from tests.simulation.kinds import BEGINNINGS, KINDS
from tests.simulation.plan import Failing, Outage, Pause, Plan, Wish, random_plan
from tests.simulation.schedule import Outcome, Schedule
from tests.simulation.world import HOWS

_CRITICAL = 50


class Tally:
    """Runs plans, counts them, and stops at the first that goes wrong."""

    def __init__(self) -> None:
        self.schedules = 0
        self._courses: set[int] = set()
        self.wrong: Outcome | None = None

    def run(self, plan: Plan) -> Outcome:
        """Run a plan; afterwards `wrong` says whether it went wrong."""
        self.schedules += 1
        outcome = Schedule(plan).run()
        gc.collect(
            0
        )  # what this one left: quicker one by one, while it is in the caches, and without all else
        self._courses.add(outcome.course)
        if outcome.violation is not None:
            self.wrong = outcome
        return outcome

    def learns(self, plan: Plan) -> bool:
        """Run a plan; returns whether it went another way than all before it."""
        known = self.distinct
        self.run(plan)
        return self.distinct > known

    @property
    def distinct(self) -> int:
        """How many of the schedules took a course of their own."""
        return len(self._courses)


@contextmanager
def undisturbed() -> Generator[None]:
    """Run many schedules without a log of theirs, and without a garbage collector that looks all the time.

    What there was before is left out of its looks.
    """
    former = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_CRITICAL))
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()
        structlog.configure(**former)


def crash_after_failures(run: str, tally: Tally) -> None:
    """Crash at every step of each plan with failures that goes another way than those before it."""
    for plan in failures(run, seed=1):
        if tally.learns(plan):
            crash_everywhere(tally, plan)


def pause_after_failures(run: str, tally: Tally) -> None:
    """Let a worker fall asleep at every step, also while its run is undone, for two lengths of time."""
    for call, seconds in product(range(5), (1.3, 2.5)):
        failing = (Failing(call, "for_good"),) if call else ()
        pause_everywhere(tally, Plan(1, (run,), workers=2, failing=failing), seconds)


def crash_everywhere(tally: Tally, plan: Plan, *, times: int = 1) -> None:
    """Run `plan` with a crash at every step of a worker, again and again until the step is beyond its end.

    With `times` 2 the worker that takes over dies as well, at every step of its own.
    """
    for at in count():
        crashed = plan._replace(crashes=(*plan.crashes, at))
        if tally.wrong or not tally.run(crashed).whole:
            return
        if times > 1:
            crash_again(tally, crashed, at)


def crash_again(tally: Tally, plan: Plan, first: int) -> None:
    """Run `plan` with one more crash, at every step after `first`."""
    for at in count(first + 1):
        if tally.wrong or not tally.run(plan._replace(crashes=(*plan.crashes, at))).whole:
            return


def pause_everywhere(tally: Tally, plan: Plan, seconds: float) -> None:
    """Run `plan` with a worker that falls asleep, at every step."""
    for at in count():
        if tally.wrong or not tally.run(plan._replace(pauses=(Pause(at, seconds),))).whole:
            return


def failures(run: str, seed: int) -> Iterator[Plan]:
    """Yield plans in which an effect fails, in every way; and another one while the run is undone."""
    steps = KINDS[BEGINNINGS[run].kind].steps
    calls = range(1, 1 + sum(bool(deed) for step in steps for deed in (step.outside, step.inside)))
    alone = Plan(seed, (run,))
    yield alone
    for call, how in product(calls, HOWS):
        yield alone._replace(failing=(Failing(call, how),))
    for call, later, how in product(calls, range(1, 4), HOWS):
        yield alone._replace(failing=(Failing(call, "for_good"), Failing(call + later, how)))


def late_effects(tally: Tally, *, crashes: bool = False) -> None:
    """Run plans in which a worker sleeps while an operator turns its run back, and acts when it wakes up.

    Then the effect fails and the store's answer is lost, or a later run of the tenant has gone on meanwhile.
    With `crashes` the other worker dies as well, at every step.
    """
    for at in range(15, 45):
        wish = Wish(at + 6, "compensate_operation")
        plan = Plan(1, ("resumption",), workers=2, pauses=(Pause(at, 2.5),), wishes=(wish,))
        for more in (
            plan._replace(failing=(Failing(2, "after"),), ambiguous=(3,)),
            plan._replace(wishes=(wish, Wish(at + 50, "resume"))),
        ):
            if not tally.wrong and tally.learns(more) and crashes:
                crash_everywhere(tally, more)


def outage_everywhere(tally: Tally, plan: Plan, seconds: float) -> None:
    """Run `plan` with a database that goes away, at every step."""
    for at in count():
        if tally.wrong or not tally.run(plan._replace(outages=(Outage(at, seconds),))).whole:
            return


def outage_and_crash(tally: Tally, plan: Plan, seconds: float, stride: int = 1) -> None:
    """Run `plan` with a database that goes away, at every step, and a worker that dies at every later one."""
    for at in count(step=stride):
        away = plan._replace(outages=(Outage(at, seconds),))
        if tally.wrong or not tally.run(away).whole:
            return
        crash_again(tally, away, at - 1)


def crash_and_outage(tally: Tally, plan: Plan, seconds: float, stride: int = 1) -> None:
    """The same, and the worker dies first."""
    for at in count(step=stride):
        crashed = plan._replace(crashes=(at,))
        if tally.wrong or not tally.run(crashed).whole:
            return
        for later in count(at + 1):
            if tally.wrong or not tally.run(crashed._replace(outages=(Outage(later, seconds),))).whole:
                break


def unsure_and_crash(tally: Tally, plan: Plan) -> None:
    """Run `plan` with a write whose answer is lost, each of them, and a worker that dies, at every step."""
    for write in range(1, 9):
        unsure = plan._replace(ambiguous=(write,))
        if tally.learns(unsure):
            crash_everywhere(tally, unsure)


def interventions(
    run: str, seed: int, commands: Iterable[str], tally: Tally, *, workers: int = 1, stride: int = 1
) -> None:
    """Run plans in which somebody asks for something at every step, and a worker dies at every step."""
    for command in commands:
        for at in count(step=stride):
            plan = Plan(seed, (run,), workers, wishes=(Wish(at, command),))
            if tally.wrong or not tally.run(plan).whole:
                break
            crash_everywhere(tally, plan)


def random_schedules(tally: Tally, seeds: Iterable[int]) -> None:
    """Run the random plans of these seeds."""
    for seed in seeds:
        if tally.wrong:
            return
        tally.run(random_plan(seed))


def story(outcome: Outcome) -> str:
    """Tell what went wrong, and how to see it again."""
    traced = Schedule(outcome.plan, traced=True).run()
    return "\n".join((f"{outcome.violation}", *traced.trace, *again(outcome.plan)))


def again(plan: Plan) -> tuple[str, ...]:
    """Return the plan, and the command that replays it."""
    words = msgspec.json.encode(plan).decode()
    if plan == random_plan(plan.seed):
        return f"{plan}", f"make simulate SEED={plan.seed}"
    return f"{plan}", f"make simulate PLAN='{words}'"
