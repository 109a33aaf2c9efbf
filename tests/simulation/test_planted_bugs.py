"""Bugs planted into the real machinery, one at a time: the simulation finds each soon, and none without."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import product
from typing import Any
from uuid import UUID

import pytest

import handlers.saga_runner.driver as driver
import handlers.saga_runner.lane as lane
import sagas.definition as definition
import sagas.journal as journal
import tenant_domain.operation.decide as operation_decide
import tenant_domain.tenant.decide.operations as run_decide
import tests.simulation.kinds as kinds
from handlers.saga_runner.late import Late
from handlers.saga_runner.lease import Lease
from handlers.saga_runner.worker import Worker
from handlers.store.errors import AmbiguousCommit, StoreError
from tests.simulation.campaign import (
    Tally,
    late_effects,
    outage_everywhere,
    pause_everywhere,
    random_schedules,
    story,
)
from tests.simulation.database import Database
from tests.simulation.kinds import BEGINNINGS, TENANTS
from tests.simulation.plan import Failing, Plan, Wish
from tests.simulation.schedule import begun
from tests.simulation.store import SimulatedAgenda
from tests.simulation.test_found import FOUND

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false

SOON = 300
"""Random schedules within which a bug has to be found."""

Patch = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, tuple[Patch, str]] = {}


def bug(seen_as: str) -> Callable[[Patch], Patch]:
    """Name a bug; `seen_as` stands in what is violated by it."""

    def named(plant: Patch) -> Patch:
        BUGS[plant.__name__] = plant, seen_as
        return plant

    return named


@bug("is done before its intent is recorded")
def an_effect_is_done_before_its_intent_is_recorded(patch: pytest.MonkeyPatch) -> None:
    entered = journal._entered

    def forgetful(saga: Any, scene: Any, run: Any, now: datetime) -> Any:
        events, ready = entered(saga, scene, run, now)
        return ((), True) if ready else (events, ready)

    patch.setattr(journal, "_entered", forgetful)


@bug("whose lease is over")
def a_worker_acts_outside_after_its_lease_is_over(patch: pytest.MonkeyPatch) -> None:
    async def careless(_: Lease) -> None:
        return

    patch.setattr(Lease, "held", careless)


@bug("what was left last")
def an_effect_that_came_late_is_not_taken_back(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return

    patch.setattr(Late, "take_back_once", nothing)


@bug("what was left last")
def an_effect_that_came_late_is_forgotten_in_trouble_with_the_store(patch: pytest.MonkeyPatch) -> None:
    take_back = Late.take_back_once

    async def forgetful(self: Late, *given: Any) -> None:
        if not isinstance(sys.exc_info()[1], StoreError):
            await take_back(self, *given)

    patch.setattr(Late, "take_back", forgetful)


@bug("what was left last")
def a_late_effect_is_taken_back_although_a_later_run_had_it_too(patch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any) -> bool:
        return False

    patch.setattr(Late, "_built_upon", nobody)


@bug("there is nothing to undo")
def a_compensation_is_recorded_twice(patch: pytest.MonkeyPatch) -> None:
    compensated = journal.compensated
    patch.setattr(driver, "compensated", lambda *given: compensated(*given) * 2)


@bug("works on and on")
def a_compensation_is_not_recorded_and_done_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(driver, "compensated", lambda *_: ())


@bug("is undone before the step")
def steps_are_undone_in_the_order_they_were_done(patch: pytest.MonkeyPatch) -> None:
    def forwards(known: Any, *, key: Any, reverse: bool) -> Any:
        return sorted(known, key=key)

    patch.setattr(definition, "sorted", forwards, raising=False)


@bug("is forgotten")
def a_timer_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    write = lane.write

    def forgetful(batch: Any, *given: Any) -> None:
        write(batch, *given)
        batch.agenda = [row._replace(due_at=None) for row in batch.agenda]

    patch.setattr(lane, "write", forgetful)


@bug("before its time")
def a_timer_goes_off_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal, "_waits_until", lambda *_: None)


@bug("stays on the agenda")
def a_run_at_rest_stays_on_the_agenda(patch: pytest.MonkeyPatch) -> None:
    write = lane.write

    def clinging(batch: Any, *given: Any) -> None:
        write(batch, *given)
        batch.agenda = [row for row in batch.agenda if row.due_at is not None]

    patch.setattr(lane, "write", clinging)


@bug("is held by a worker that is gone")
def the_runs_of_the_dead_are_never_taken_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Database, "_free", lambda _: 0)


@bug("is held, and nobody works on it")
def a_run_stays_held_when_the_answer_that_gave_it_is_lost(patch: pytest.MonkeyPatch) -> None:
    free = SimulatedAgenda.free

    async def trusting(self: SimulatedAgenda, owner: UUID, _: Any) -> int:
        return await free(self, owner, self._database.agenda)

    patch.setattr(SimulatedAgenda, "free", trusting)


@bug("is destroyed under a legal hold")
def nobody_looks_at_a_legal_hold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operation_decide, "hold", lambda *_: ())
    patch.setitem(kinds.KINDS, "termination", kinds.KINDS["termination"]._replace(stop=lambda _: None))


@bug("what was left last")
def a_late_effect_stays_when_its_worker_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Late, "take_back", Late._take_back)


@bug("is due, and nobody takes it")
def a_worker_looks_only_when_it_is_woken(patch: pytest.MonkeyPatch) -> None:
    async def trusting(worker: Any) -> None:
        await asyncio.sleep(worker._limits.breath)
        await worker._awake.wait()
        worker._awake.clear()

    patch.setattr(Worker, "_wait_until_awake", trusting)


@bug("was committed 2 times, and recorded 1 times")
def an_effect_inside_is_kept_although_its_event_was_dropped(patch: pytest.MonkeyPatch) -> None:
    async def careless(self: Any, entries: list[Any], **_: Any) -> Any:
        async with self._store.transaction() as transaction:
            moves = [entry.follow(await lane._effect(entry, transaction)) for entry in entries]
            appended = await transaction.append(lane._batch(entries, moves))
        kept = [None if group in appended.dropped else moved for group, moved in enumerate(moves)]
        return lane._Written(kept, appended.head)

    patch.setattr(lane.Lane, "_act", careless)


@bug("what was left last")
def an_ambiguous_commit_is_taken_for_a_commit(patch: pytest.MonkeyPatch) -> None:
    record = lane.Lane._record

    async def hopeful(self: Any, entries: list[Any]) -> Any:
        moves = [entry.follow({}) for entry in entries]
        with suppress(AmbiguousCommit):
            return await record(self, entries)
        return lane._Written(list(moves), 0)

    patch.setattr(lane.Lane, "_record", hopeful)


@bug("where there is no way back")
def a_run_turns_back_from_where_there_is_no_way_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run_decide, "_require_way_back", lambda *_: None)


def hunt(tally: Tally) -> None:
    """Look for a bug: let a worker sleep at every await while another turns the run back; then by chance."""
    pause_everywhere(tally, Plan(1, ("provisioning",), workers=2, failing=(Failing(1, "for_good"),)), 1.3)
    late_effects(tally)
    for seed in range(10):
        outage_everywhere(tally, Plan(seed, ("suspension",), workers=2), 0.2)
    held = (Plan(1, ("retention",), wishes=(Wish(at, "place_legal_hold"),)) for at in range(20, 80, 5))
    for plan in (*FOUND.values(), *held):
        if not tally.wrong:
            tally.run(plan)
    random_schedules(tally, range(SOON))


@pytest.fixture(autouse=True)
def pasts() -> None:
    """What was before a schedule is made without any bug."""
    for beginning, number in product(BEGINNINGS, range(len(TENANTS))):
        begun(beginning, number)


@pytest.mark.parametrize(("plant", "seen_as"), BUGS.values(), ids=BUGS)
def test_a_planted_bug_is_found(plant: Patch, seen_as: str, monkeypatch: pytest.MonkeyPatch):
    plant(monkeypatch)
    tally = Tally()
    hunt(tally)
    assert tally.wrong is not None, f"not found in {tally.schedules} schedules"
    assert seen_as in str(tally.wrong.violation)


def test_without_a_bug_nothing_is_found():
    tally = Tally()
    hunt(tally)
    assert tally.wrong is None, story(tally.wrong)
