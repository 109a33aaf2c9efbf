"""Times in a saga: due times, waits, deadlines, stops, and runs that repeat another."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sagas.definition import Deed, RetryPolicy, Saga, Scene, Step
from sagas.journal import WAIT, advance
from sagas.registry import SAGAS
from tenant_domain.decision import NewEvent
from tenant_domain.operation.commands import CompensateOperation, RerunOperation, RetryOperation
from tenant_domain.operation.events import OperationRetried, StepScheduled
from tenant_domain.operation.state import Operation, OperationStatus, StepStatus
from tenant_domain.tenant.commands import PlaceLegalHold, ReleaseLegalHold
from tenant_domain.tenant.decide import ref
from tenant_domain.tenant.events import LegalHoldPlaced
from tenant_domain.values import Status
from tests.sagas.rehearsal import WISH, Ending, Rehearsal
from tests.support.gwt import NOW

A_YEAR = timedelta(days=365)
OTHER = (RetryPolicy(max_tries=1000, first=10.0, factor=1.0, cap=10.0), Deed("do_it", undo="undo_it"))
RETRY, DEED = OTHER


def in_a_year(_: Operation) -> datetime:
    return NOW + A_YEAR


def rehearsed(*steps: Step, **changes: object) -> Rehearsal:
    """Return a run of a saga with these steps, not yet begun."""
    saga = Saga(
        kind="provisioning",
        steps=steps,
        undone=SAGAS["provisioning"].undone,
        reads=SAGAS["provisioning"].reads,
    )
    rehearsal = Rehearsal(saga._replace(**changes))
    rehearsal.ask(WISH)
    return rehearsal


def names(rehearsal: Rehearsal) -> list[str]:
    return [event.name.removeprefix("operation.") for event in rehearsal.journal]


def test_a_step_is_told_to_wait_once_and_begins_when_it_is_due():
    rehearsal = rehearsed(Step("act", outside=DEED, due=in_a_year))
    for _ in range(3):
        moved = advance(rehearsal.saga, rehearsal.scene(), rehearsal.now)
        rehearsal.facts.append(moved.events)
        assert moved.waits_until == NOW + A_YEAR
    assert [event for event in rehearsal.journal if isinstance(event, StepScheduled)] == [
        StepScheduled(step="act", due_at=NOW + A_YEAR)
    ]
    rehearsal.to_the_end()
    assert rehearsal.now >= NOW + A_YEAR
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED
    assert rehearsal.operation.step("act").due_at == NOW + A_YEAR


def test_a_run_that_waits_is_undone_at_once():
    rehearsal = rehearsed(Step("act", outside=DEED), Step("later", outside=DEED, due=in_a_year))
    rehearsal.step()
    rehearsal.ask(CompensateOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.now < NOW + A_YEAR
    assert rehearsal.deeds == ["do_it", "undo_it"]


def test_a_step_that_waits_for_somebody_is_looked_at_again():
    busy = [True, True, False]

    def waits(_: Scene) -> bool:
        return busy.pop(0)

    rehearsal = rehearsed(Step("act", outside=DEED, waits=waits))
    moved = advance(rehearsal.saga, rehearsal.scene(), rehearsal.now)
    assert (moved.events, moved.waits_until) == ((), NOW + WAIT)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED
    assert busy == []


def entered(scene: Scene) -> tuple[NewEvent, ...]:
    if scene.tenant.legal_hold:
        return ()
    return (NewEvent(ref(scene.operation.tenant_id), LegalHoldPlaced(reason="entered")),)


def test_what_a_step_adds_when_it_begins_stands_before_its_deed():
    rehearsal = rehearsed(Step("act", outside=DEED, entry=entered))
    moved = advance(rehearsal.saga, rehearsal.scene(), rehearsal.now)
    assert [event.name for _, event in moved.events] == ["tenant.legal_hold_placed", "operation.step_started"]
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED


def test_a_stopped_run_is_parked_before_its_next_step_and_goes_on_from_there():
    def held(scene: Scene) -> str | None:
        return scene.tenant.legal_hold

    rehearsal = rehearsed(Step("act", outside=DEED), Step("next", outside=DEED), stop=held)
    rehearsal.step()
    rehearsal.ask(PlaceLegalHold(reason="a case"))
    rehearsal.facts.append(advance(rehearsal.saga, rehearsal.scene(), rehearsal.now).events)
    assert rehearsal.rests
    assert rehearsal.operation.parked_reason == "a case"
    assert rehearsal.operation.step("act").status is StepStatus.COMPLETED
    rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.PARKED
    rehearsal.ask(ReleaseLegalHold())
    rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED


def until_it_turns(rehearsal: Rehearsal) -> None:
    while rehearsal.operation.status is OperationStatus.RUNNING:
        rehearsal.step(Ending.FAILS_BEFORE)


@pytest.mark.parametrize("on_failure", ["compensate", "park"])
def test_a_step_has_a_deadline_for_all_its_attempts(on_failure: str):
    step = Step("act", outside=DEED, retry=RETRY, deadline=60.0, on_failure=on_failure)  # pyright: ignore[reportArgumentType]
    rehearsal = rehearsed(step)
    until_it_turns(rehearsal)
    assert rehearsal.now - NOW <= timedelta(seconds=60)
    assert 4 <= rehearsal.operation.step("act").attempts <= 7
    assert rehearsal.operation.status is (
        OperationStatus.PARKED if on_failure == "park" else OperationStatus.COMPENSATING
    )


def test_a_deadline_of_a_step_counts_anew_when_somebody_retries_it():
    rehearsal = rehearsed(Step("act", outside=DEED, retry=RETRY, deadline=60.0, on_failure="park"))
    until_it_turns(rehearsal)
    rehearsal.now += A_YEAR
    rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
    before = rehearsal.operation.step("act").attempts
    until_it_turns(rehearsal)
    assert rehearsal.operation.step("act").attempts - before >= 4


def test_a_run_turns_back_at_its_deadline_and_not_later():
    rehearsal = rehearsed(Step("act", outside=DEED, retry=RETRY), deadline=35.0)
    until_it_turns(rehearsal)
    assert timedelta(seconds=35) <= rehearsal.now - NOW < timedelta(seconds=36)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.ROLLED_BACK
    assert rehearsal.operation.reason == "The run did not end within 35 seconds."


def test_waiting_for_a_due_time_is_not_counted():
    rehearsal = rehearsed(Step("act", outside=DEED, due=in_a_year), deadline=35.0)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED


def test_a_retried_run_has_its_whole_time_again():
    rehearsal = rehearsed(Step("act", outside=DEED, retry=RETRY, on_failure="park"), deadline=35.0)
    until_it_turns(rehearsal)
    assert rehearsal.operation.parked_reason == "The run did not end within 35 seconds."
    rehearsal.now += A_YEAR
    rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
    assert isinstance(rehearsal.journal[-1], OperationRetried)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED


# what operators may ask besides


def test_undoing_goes_on_past_a_step_that_was_undone_by_hand():
    rehearsal = rehearsed(
        Step("first", outside=Deed("one", undo="not_one")),
        Step("second", outside=Deed("two", undo="not_two")),
        Step("third", outside=Deed("three")),
    )
    rehearsal.step()
    rehearsal.step()
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    assert rehearsal.operation.parked_step == "second"
    rehearsal.ask(CompensateOperation(operation_id=rehearsal.operation_id, from_step="first"))
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.ROLLED_BACK
    assert rehearsal.deeds == ["one", "two", "not_one"]
    assert rehearsal.operation.reason == "The step 'third' failed: The world was against it."


def test_what_this_version_cannot_undo_waits_parked_for_one_that_can():
    old = rehearsed(Step("gone", outside=Deed("one", undo="not_one")), Step("stays", outside=DEED))
    old.step()
    old.step(Ending.FAILS_BEFORE)
    steps = old.saga.steps
    old.saga = old.saga._replace(steps=steps[1:])
    old.ask(CompensateOperation(operation_id=old.operation_id))
    old.to_the_end()
    assert old.operation.parked_reason == "This version of the service cannot undo the step 'gone'."
    old.saga = old.saga._replace(retired=steps[:1])
    old.ask(RetryOperation(operation_id=old.operation_id))
    old.to_the_end()
    assert old.operation.status is OperationStatus.ROLLED_BACK
    assert old.deeds[-1] == "not_one"


def test_a_repeated_notice_is_sent_and_nothing_else():
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.to_the_end()
    rehearsal.deeds.clear()
    former, rehearsal.operation_id = rehearsal.operation_id, type(rehearsal)(rehearsal.saga).operation_id
    rehearsal.ask(RerunOperation(operation_id=former, from_step="notify"))
    rehearsal.to_the_end()
    assert rehearsal.deeds == ["send_ready_notice"]
    assert rehearsal.operation.status is OperationStatus.SUCCEEDED
    assert (rehearsal.tenant.status, rehearsal.tenant.operation_id) == (Status.ACTIVE, None)


def test_a_repetition_that_fails_leaves_the_tenant_in_service():
    rehearsal = Rehearsal.of("provisioning")
    rehearsal.to_the_end()
    before = rehearsal.tenant
    rehearsal.deeds.clear()
    former, rehearsal.operation_id = rehearsal.operation_id, type(rehearsal)(rehearsal.saga).operation_id
    rehearsal.ask(RerunOperation(operation_id=former, from_step="configure_defaults"))
    rehearsal.step(Ending.FAILS_FOR_GOOD)
    rehearsal.to_the_end()
    assert rehearsal.operation.status is OperationStatus.ROLLED_BACK
    assert rehearsal.deeds == []
    assert rehearsal.tenant == before


@pytest.mark.parametrize("back", [timedelta(minutes=1), timedelta(hours=1)])
def test_a_try_is_not_waited_for_longer_than_any_wait_when_the_clock_is_put_back(back: timedelta):
    rehearsal = rehearsed(Step("act", outside=DEED, retry=RETRY))
    rehearsal.step(Ending.FAILS_BEFORE)
    now = rehearsal.now
    moved = advance(rehearsal.saga, rehearsal.scene(), now)
    assert moved.waits_until is not None
    assert moved.waits_until - now <= RETRY.longest
    assert advance(rehearsal.saga, rehearsal.scene(), now - back).waits_until is None


def test_a_step_that_is_due_in_a_year_waits_that_long_also_when_the_clock_is_put_back():
    rehearsal = rehearsed(Step("act", outside=DEED, due=in_a_year))
    moved = advance(rehearsal.saga, rehearsal.scene(), rehearsal.now - timedelta(hours=1))
    assert moved.waits_until == NOW + A_YEAR
