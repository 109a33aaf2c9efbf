"""What comes next in a run is a matter of its state alone, whatever the definition has become meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from sagas.definition import Deed, Finish, Park, RetryPolicy, Run, Saga, Step, Undo, next_action, no_facts
from tenant_domain.decision import Event
from tenant_domain.operation.events import (
    CompensationStarted,
    OperationParked,
    OperationRetried,
    OperationStarted,
    OperationSucceeded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from tenant_domain.operation.state import Operation, evolve
from tests.sagas.rehearsal import told

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
LATER = AT + timedelta(seconds=5)
RUN, TENANT = UUID(int=1), UUID(int=2)


def step(name: str) -> Step:
    return Step(name, outside=Deed(f"do {name}", undo=f"undo {name}"))


def saga(*names: str, retired: tuple[str, ...] = ()) -> Saga:
    return Saga("test", tuple(map(step, names)), undone=no_facts, retired=tuple(map(step, retired)))


def run_of(*events: Event, steps: tuple[str, ...] = ("a", "b", "c")) -> Operation:
    begun = OperationStarted(
        operation_id=str(RUN), tenant_id=str(TENANT), kind="test", steps=steps, started_at=AT
    )
    state: Operation | None = None
    for event in (begun, *events):
        state = evolve(state, event)
    assert state is not None
    return state


def done(name: str) -> StepCompleted:
    return StepCompleted(step=name, attempt=1, started_at=AT, finished_at=AT)


def begun(name: str, attempt: int = 1) -> StepStarted:
    return StepStarted(step=name, attempt=attempt, started_at=AT)


def failed(name: str, retry_at: datetime | None = None, *, undoing: bool = False) -> StepFailed:
    return StepFailed(
        step=name,
        attempt=1,
        error="no",
        undoing=undoing,
        started_at=AT,
        finished_at=AT,
        retry_at=retry_at,
    )


TURNED = CompensationStarted(ending="rolled_back", reason="no")
ABC = saga("a", "b", "c")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "run a"),
        ([done("a")], "run b"),
        ([done("a"), begun("b")], "run b"),
        ([done("a"), failed("b", LATER)], "run b"),
        ([done("a"), done("b"), done("c")], "finish"),
        ([done("a"), begun("b"), TURNED], "undo b"),
        ([done("a"), failed("b"), TURNED, StepCompensated(step="b", attempt=1, finished_at=AT)], "undo a"),
        ([TURNED], "finish"),
        ([done("a"), OperationParked(step="b", reason="no")], "rest"),
        ([done("a"), OperationParked(step="b", reason="no"), OperationRetried()], "run b"),
        (
            [done("a"), TURNED, failed("a", undoing=True), OperationParked(step="a", reason="no")],
            "rest",
        ),
        (
            [done("a"), TURNED, OperationParked(step="a", reason="no"), OperationRetried()],
            "undo a",
        ),
        ([done("a"), OperationParked(step="b", reason="no"), TURNED], "undo a"),
        ([done("a"), done("b"), done("c"), OperationSucceeded(finished_at=AT)], "rest"),
    ],
)
def test_the_next_action_follows_from_the_journal(events: list[Event], expected: str):
    assert told(next_action(ABC, run_of(*events))) == expected


def test_an_attempt_has_the_next_number_and_waits_for_its_time():
    action = next_action(ABC, run_of(done("a"), begun("b"), failed("b", LATER)))
    assert action == Run(step("b"), attempt=2, not_before=LATER)


def test_an_undo_waits_for_its_time_too():
    action = next_action(ABC, run_of(done("a"), TURNED, failed("a", LATER, undoing=True)))
    assert action == Undo(step("a"), attempt=2, not_before=LATER)


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (saga("new", "a", "b", "c"), "run new"),
        (saga("a", "new", "b", "c"), "run new"),
        (saga("a", "b", "new", "c"), "run new"),
        (saga("a", "b", "c", "new"), "run c"),
        (saga("a", "c"), "run c"),
        (saga("c"), "run c"),
        (saga("c", "b", "a"), "run c"),
        (saga("a", "b"), "finish"),
    ],
    ids=[
        "new first",
        "new between",
        "new before the next",
        "new last",
        "one gone",
        "all gone",
        "turned",
        "cut",
    ],
)
def test_a_run_in_flight_goes_on_in_a_changed_definition(definition: Saga, expected: str):
    assert told(next_action(definition, run_of(done("a"), done("b")))) == expected


@pytest.mark.parametrize("definition", [ABC, saga("c", "b", "a"), saga("b", "c", "a")])
def test_undoing_goes_backwards_in_the_order_of_the_run_whatever_the_definition_says(definition: Saga):
    operation, undone = run_of(done("a"), done("b"), begun("c"), TURNED), list[str]()
    while isinstance(action := next_action(definition, operation), Undo):
        undone.append(action.step.name)
        state = evolve(operation, StepCompensated(step=action.step.name, attempt=1, finished_at=AT))
        assert state is not None
        operation = state
    assert undone == ["c", "b", "a"]
    assert action == Finish()


def test_a_step_that_was_taken_out_is_undone_while_it_is_among_the_retired():
    operation = run_of(done("a"), done("b"), TURNED)
    assert told(next_action(saga("a", "c", retired=("b",)), operation)) == "undo b"


def test_a_run_with_a_step_that_nobody_can_undo_is_parked_with_a_reason():
    action = next_action(saga("a", "c"), run_of(done("a"), done("b"), TURNED))
    assert isinstance(action, Park)
    assert action.step == "b"
    assert "cannot undo" in action.reason


def test_a_step_with_nothing_to_undo_is_passed_over():
    plain = Saga("test", (step("a"), Step("b", outside=Deed("do b"))), undone=no_facts)
    assert told(next_action(plain, run_of(done("a"), done("b"), TURNED))) == "undo a"


def test_waits_grow_up_to_a_cap_and_are_spread():
    policy = RetryPolicy(max_tries=9, first=1.0, factor=2.0, cap=5.0, jitter=0.2)
    waits = [policy.delay(tries, 0.5).total_seconds() for tries in range(1, 6)]
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert policy.delay(1, 0.0).total_seconds() == pytest.approx(0.8)
    assert policy.delay(1, 1.0).total_seconds() == pytest.approx(1.2)
