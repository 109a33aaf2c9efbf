"""An operation: what operators ask of a run, and what its journal folds to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tenant_domain.catalogue import Policy
from tenant_domain.decision import Context, Event, World
from tenant_domain.examples import AGAIN, BEGUN, ENDED, OPERATION, TENANT
from tenant_domain.operation import decide
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.events import (
    CompensationStarted,
    OperationCancelled,
    OperationParked,
    OperationRetried,
    OperationRolledBack,
    OperationStarted,
    OperationSucceeded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from tenant_domain.operation.state import Operation, OperationStatus, Step, StepStatus, evolve
from tenant_domain.refusals import InvalidCommand, InvalidTransition, NotFound, TenantGone, TenantNotFound
from tenant_domain.registry import COMMANDS as COMMANDS_BY_NAME
from tenant_domain.tenant.decide import PROVISIONING
from tenant_domain.values import Status, operation_id_of
from tests.support.examples import EVENT_EXAMPLES
from tests.support.gwt import NEXT_OPERATION, NOW, OTHER_TENANT, given
from tests.support.stories import BEING_MADE, FAILED, IN_SERVICE, told

RETRY = RetryOperation(operation_id=OPERATION)
CANCEL = CancelOperation(operation_id=OPERATION)
COMPENSATE = CompensateOperation(operation_id=OPERATION)
COMMANDS = [RETRY, CANCEL, COMPENSATE]

WAITING = (*BEING_MADE, EVENT_EXAMPLES["operation.step_failed"])
PARKED = (*WAITING, EVENT_EXAMPLES["operation.parked"])
UNDOING = (*BEING_MADE, EVENT_EXAMPLES["operation.compensation_started"])
PARKED_UNDOING = (*UNDOING, EVENT_EXAMPLES["operation.parked"])


def run(*events: Event) -> Operation:
    """Return the run that the example and then `events` fold to."""
    state = given(EVENT_EXAMPLES["operation.started"], *events).state(OPERATION)
    assert isinstance(state, Operation)
    return state


def completed(step: str, attempt: int = 1) -> StepCompleted:
    return StepCompleted(step=step, attempt=attempt, started_at=BEGUN, finished_at=ENDED, output={"n": 1})


# what operators ask


@pytest.mark.parametrize("before", [WAITING, PARKED, PARKED_UNDOING])
def test_a_run_that_waits_or_is_parked_goes_on_when_retried(before: Any):
    given(*before).when(RETRY).then(OperationRetried(retried_at=NOW), operation_id=OPERATION)


@pytest.mark.parametrize("before", [BEING_MADE, UNDOING])
def test_a_run_at_work_is_left_alone_when_retried(before: Any):
    given(*before).when(RETRY).then_nothing(operation_id=OPERATION)


@pytest.mark.parametrize("before", [BEING_MADE, WAITING, PARKED, PARKED_UNDOING])
def test_a_cancelled_run_is_undone(before: Any):
    given(*before).when(CANCEL).then(
        CompensationStarted(ending="cancelled", reason="Cancelled by an operator."), operation_id=OPERATION
    )


@pytest.mark.parametrize("before", [BEING_MADE, WAITING, PARKED, PARKED_UNDOING])
def test_a_compensated_run_is_undone(before: Any):
    given(*before).when(COMPENSATE).then(
        CompensationStarted(ending="rolled_back", reason="Compensated by an operator."),
        operation_id=OPERATION,
    )


@pytest.mark.parametrize("step", ["activate", "none_such"])
def test_an_undoing_goes_on_only_from_a_step_that_was_done(step: str):
    detail = "must be a step that the run has done, and not undone yet"
    given(*PARKED_UNDOING).when(COMPENSATE.model_copy(update={"from_step": step})).then_refused(
        InvalidCommand, errors=[{"field": "from_step", "detail": detail}]
    )


@pytest.mark.parametrize("command", [CANCEL, COMPENSATE])
def test_a_run_that_is_being_undone_goes_on_with_that(command: Any):
    given(*UNDOING).when(command).then_nothing(operation_id=OPERATION)


def test_what_was_asked_for_already_came_true():
    given(*FAILED).when(COMPENSATE).then_nothing(operation_id=OPERATION)
    cancelled = (*BEING_MADE, EVENT_EXAMPLES["operation.cancelled"])
    given(*cancelled).when(CANCEL).then_nothing(operation_id=OPERATION)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_that_ended_well_stays_as_it_is(command: Any):
    given(*IN_SERVICE).when(command).then_refused(
        InvalidTransition, **{"from": "succeeded", "command": command.name_}
    )


@pytest.mark.parametrize("command", [RETRY, CANCEL])
def test_a_run_that_was_rolled_back_is_neither_retried_nor_cancelled(command: Any):
    given(*FAILED).when(command).then_refused(
        InvalidTransition, **{"from": "rolled_back", "command": command.name_}
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_an_operation_that_the_tenant_never_had_is_not_found(command: Any):
    asked = command.model_copy(update={"operation_id": NEXT_OPERATION})
    given(*IN_SERVICE).when(asked).then_refused(NotFound, operation_id=str(NEXT_OPERATION))


@pytest.mark.parametrize("command", COMMANDS)
def test_another_tenants_operation_is_not_found(command: Any):
    started = replace(EVENT_EXAMPLES["operation.started"], tenant_id=str(OTHER_TENANT))
    given(*told("tenant.provisioning_started"), started).when(command).then_refused(
        NotFound, operation_id=str(OPERATION)
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_tenant_that_never_existed_is_not_found(command: Any):
    given().when(command).then_refused(TenantNotFound)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_deleted_tenant_is_gone(command: Any):
    tenant = replace(given(*IN_SERVICE).state(TENANT), status=Status.DELETED)
    world = World({TENANT: tenant, OPERATION: run()})
    with pytest.raises(TenantGone):
        COMMANDS_BY_NAME[command.name_].decide(
            command, world, Context(TENANT, NOW, NEXT_OPERATION, None, Policy())
        )


# how a run begins and ends


def test_a_run_begins_with_its_steps_and_their_input():
    started = decide.start(OPERATION, TENANT, "provisioning", PROVISIONING, {}, BEGUN)
    assert started == (decide.ref(OPERATION), EVENT_EXAMPLES["operation.started"])


@pytest.mark.parametrize(
    ("before", "end"),
    [
        ((), OperationSucceeded(finished_at=ENDED)),
        (
            told("operation.compensation_started"),
            OperationRolledBack(reason="notify: the mail server did not answer", finished_at=ENDED),
        ),
        (
            (CompensationStarted(ending="cancelled", reason="Cancelled by an operator."),),
            OperationCancelled(reason="Cancelled by an operator.", finished_at=ENDED),
        ),
    ],
)
def test_a_run_ends_as_it_was_meant_to(before: Any, end: Event):
    operation = run(*before)
    assert decide.ended(operation, ENDED) == end
    ended = evolve(operation, end)
    assert ended is not None
    assert ended.finished
    assert ended.finished_at == ENDED
    assert end.name == f"operation.{ended.status}"


def test_the_same_command_always_starts_the_same_operation():
    one, other = UUID(int=1), UUID(int=2)
    assert operation_id_of(TENANT, one) == operation_id_of(TENANT, one)
    assert len({operation_id_of(tenant, key) for tenant in (one, other) for key in (one, other)}) == 4


# what the journal folds to


def test_a_new_run_has_all_its_steps_before_it():
    operation = run()
    assert operation.status is OperationStatus.RUNNING
    assert [step.name for step in operation.steps] == list(PROVISIONING)
    assert {step.status for step in operation.steps} == {StepStatus.PENDING}
    assert not any(step.touched for step in operation.steps)


def test_a_step_that_was_begun_may_have_had_an_effect():
    step = run(StepStarted(step="notify", attempt=1, started_at=BEGUN)).step("notify")
    assert (step.status, step.attempts, step.started_at, step.touched) == (
        StepStatus.RUNNING,
        1,
        BEGUN,
        True,
    )


def test_a_failed_attempt_waits_for_the_next():
    step = run(*told("operation.step_failed")).step("notify")
    assert step == Step(
        name="notify",
        status=StepStatus.FAILED,
        order=1,
        attempts=1,
        tries=1,
        failing_since=BEGUN,
        started_at=BEGUN,
        finished_at=ENDED,
        error="the mail server did not answer",
        retry_at=AGAIN,
    )


def test_a_step_that_succeeds_at_last_forgets_its_error_but_not_its_beginning():
    again = StepStarted(step="notify", attempt=2, started_at=AGAIN)
    done = StepCompleted(step="notify", attempt=2, started_at=AGAIN, finished_at=AGAIN + timedelta(seconds=1))
    step = run(*told("operation.step_failed"), again, done).step("notify")
    assert (step.status, step.attempts, step.tries) == (StepStatus.COMPLETED, 2, 0)
    assert (step.error, step.retry_at, step.started_at) == (None, None, BEGUN)


def test_a_step_that_is_done_keeps_its_output():
    assert run(completed("validate")).step("validate").output == {"n": 1}


def test_steps_are_numbered_as_the_run_first_touched_them():
    """A definition that changes their order meanwhile does not change what is undone first."""
    again = StepStarted(step="notify", attempt=2, started_at=AGAIN)
    operation = run(completed("validate"), *told("operation.step_failed"), completed("warm_up"), again)
    orders = {step.name: step.order for step in operation.steps if step.touched}
    assert orders == {"validate": 1, "notify": 2, "warm_up": 3}
    assert operation.step("create_schema").order == 0


def test_failing_to_undo_a_step_leaves_its_effect_standing():
    failed = StepFailed(
        step="validate", attempt=1, error="no", undoing=True, started_at=BEGUN, finished_at=ENDED
    )
    step = run(completed("validate"), failed).step("validate")
    assert (step.status, step.attempts, step.tries, step.error) == (StepStatus.COMPLETED, 1, 1, "no")
    assert step.touched


def test_a_step_that_was_undone_has_no_effect_any_more():
    undone = StepCompensated(step="validate", attempt=1, finished_at=AGAIN)
    step = run(completed("validate"), undone).step("validate")
    assert (step.status, step.finished_at, step.touched) == (StepStatus.COMPENSATED, AGAIN, False)


def test_undoing_starts_with_fresh_retries():
    operation = run(*told("operation.step_failed", "operation.compensation_started"))
    assert (operation.status, operation.ending) == (OperationStatus.COMPENSATING, "rolled_back")
    assert (operation.step("notify").tries, operation.step("notify").retry_at) == (0, None)


def test_a_parked_run_says_why_until_it_goes_on():
    parked = run(*told("operation.step_failed", "operation.parked"))
    assert parked.status is OperationStatus.PARKED
    assert parked.parked_reason == "the mail server did not answer in 5 attempts"
    gone_on = run(*told("operation.step_failed", "operation.parked", "operation.retried"))
    assert (gone_on.status, gone_on.parked_reason) == (OperationStatus.RUNNING, None)
    assert (gone_on.step("notify").tries, gone_on.step("notify").retry_at) == (0, None)


def test_a_run_that_is_parked_while_it_is_undone_still_knows_why_it_is_undone():
    stuck = OperationParked(step="create_schema", reason="the schema is in use")
    operation = run(*told("operation.compensation_started"), stuck, OperationRetried(retried_at=NOW))
    assert operation.status is OperationStatus.COMPENSATING
    assert operation.reason == "notify: the mail server did not answer"


def test_a_step_that_the_run_did_not_begin_with_is_told_too():
    """A newer definition of the saga may insert a step into a run that is under way."""
    operation = run(completed("warm_up"))
    assert [step.name for step in operation.steps] == [*PROVISIONING, "warm_up"]
    assert operation.step("never_heard_of") == Step(name="never_heard_of")


def test_what_comes_before_the_start_changes_nothing():
    assert evolve(None, EVENT_EXAMPLES["operation.retried"]) is None


def test_the_start_of_a_run_is_where_every_story_begins():
    assert evolve(None, EVENT_EXAMPLES["operation.started"]) == run()
    assert isinstance(EVENT_EXAMPLES["operation.started"], OperationStarted)
