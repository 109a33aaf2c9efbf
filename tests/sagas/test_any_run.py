"""Whatever happens to a run, it ends completed, fully undone, or visibly parked."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sagas.definition import Deed, Step
from sagas.registry import SAGAS
from tenant_domain.catalogue import PLANS
from tenant_domain.decision import Command
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.events import StepCompensated, StepCompleted, StepFailed, StepStarted
from tenant_domain.operation.state import OperationStatus
from tenant_domain.refusals import InvalidTransition
from tenant_domain.values import Status
from tests.sagas.rehearsal import Ending, Rehearsal


def _made(name: str) -> Step:
    """Make a step with something to undo: `o` outside the database, `i` inside it, `b` both."""
    outside = Deed(f"do {name}", undo=f"undo {name}") if name[0] in "ob" else None
    inside = Deed(f"write {name}", undo=f"unwrite {name}") if name[0] in "ib" else None
    return Step(name, outside=outside, inside=inside)


MANY_STEPS = SAGAS["provisioning"]._replace(
    steps=(*map(_made, ("o1", "i2", "b3", "i4", "o5")), SAGAS["provisioning"].steps[-1])
)
KINDS = {**SAGAS, "many steps": MANY_STEPS}
REVERSIBLE = {
    deed.do: deed.undo
    for saga in KINDS.values()
    for step in saga.steps
    for deed in (step.outside, step.inside)
    if deed is not None and deed.undo is not None
}


class AnyRun(RuleBasedStateMachine):
    """Failures, crashes and operators at every point."""

    @initialize(kind=st.sampled_from(sorted(KINDS)), differs=st.booleans())
    def begin(self, kind: str, differs: bool) -> None:
        self.rehearsal = Rehearsal.of(KINDS[kind].kind)
        self.rehearsal.saga = KINDS[kind]
        if differs:
            self.rehearsal.outputs["verify_plan"] = {"differences": ["a limit"]}

    @rule(steps=st.integers(2, 6))
    def go_well(self, steps: int) -> None:
        for _ in range(steps):
            self.rehearsal.step()

    @rule(ending=st.sampled_from(Ending))
    def attempt(self, ending: Ending) -> None:
        before, rested = len(self.rehearsal.facts.log), self.rehearsal.rests
        self.rehearsal.step(ending)
        assert not rested or len(self.rehearsal.facts.log) == before

    @precondition(lambda self: not self.rehearsal.operation.finished)
    @rule(command=st.sampled_from((RetryOperation, CancelOperation, CompensateOperation)))
    def ask(self, command: type[RetryOperation] | type[CancelOperation] | type[CompensateOperation]) -> None:
        self.operate(command(operation_id=self.rehearsal.operation_id))

    @precondition(lambda self: not self.rehearsal.operation.finished)
    @rule(command=st.sampled_from((CancelOperation, CompensateOperation)))
    def overtake(self, command: type[CancelOperation] | type[CompensateOperation]) -> None:
        """An operator appends while a step is at work: what the step would record is dropped."""
        self.rehearsal.step(Ending.CRASHES_AFTER)
        if not self.rehearsal.operation.finished:
            self.operate(command(operation_id=self.rehearsal.operation_id))

    def operate(self, command: Command) -> None:
        """Ask; a plan that has changed already cannot be changed back, nor a purge that has begun."""
        rehearsal = self.rehearsal
        changed = rehearsal.saga.kind == "upgrade" and rehearsal.tenant.plan_change is None
        no_way_back = changed or rehearsal.tenant.status is Status.PURGING
        if no_way_back and not isinstance(command, RetryOperation):
            with pytest.raises(InvalidTransition):
                self.rehearsal.ask(command)
        else:
            self.rehearsal.ask(command)

    @invariant()
    def a_run_at_rest_has_ended_or_says_why_it_waits(self) -> None:
        operation = self.rehearsal.operation
        if self.rehearsal.rests and not operation.finished:
            assert operation.status is OperationStatus.PARKED
            assert operation.parked_reason

    @invariant()
    def an_ended_run_left_all_or_nothing(self) -> None:
        rehearsal = self.rehearsal
        if not rehearsal.operation.finished:
            return
        left = {deed for deed in rehearsal.present if deed in REVERSIBLE}
        expected = {deed.do for step in rehearsal.saga.steps for deed in (step.outside, step.inside) if deed}
        assert rehearsal.tenant.operation_id is None
        if rehearsal.operation.status is OperationStatus.SUCCEEDED:
            assert expected <= rehearsal.present
        else:
            own = {deed for deed in expected if deed in REVERSIBLE}
            assert not left & own
            if rehearsal.saga.kind == "provisioning":
                assert rehearsal.tenant.status is Status.FAILED

    @invariant()
    def a_plan_has_changed_with_all_it_brings_or_not_at_all(self) -> None:
        rehearsal, tenant = self.rehearsal, self.rehearsal.tenant
        if rehearsal.saga.kind != "upgrade":
            return
        undone = rehearsal.operation.status in (OperationStatus.ROLLED_BACK, OperationStatus.CANCELLED)
        changed = tenant.plan_change is None and not undone
        plan = PLANS["enterprise" if changed else "professional"]
        assert (tenant.plan, tenant.quotas, tenant.flags) == (plan.name, plan.quotas, plan.flags)
        assert not (changed and rehearsal.outputs), "verification found a difference"
        if not rehearsal.operation.finished:
            assert (tenant.operation_id is None) == changed
            assert changed or "release_backup" not in rehearsal.present or rehearsal.outputs

    @invariant()
    def a_tenant_that_ends_is_back_as_it_was_or_gone(self) -> None:
        rehearsal, names = self.rehearsal, [event.name for event in self.rehearsal.journal]
        if rehearsal.saga.kind != "termination":
            return
        if "operation.compensation_started" in names:
            assert not rehearsal.present & {"remove_belongings", "purge_schema", "delete_securely"}
        if rehearsal.operation.finished:
            undone = rehearsal.operation.status is not OperationStatus.SUCCEEDED
            assert rehearsal.tenant.status is (Status.ACTIVE if undone else Status.DELETED)

    @invariant()
    def only_what_was_touched_is_undone_last_one_first(self) -> None:
        touched: list[str] = []
        undone: list[str] = []
        for event in self.rehearsal.journal:
            if isinstance(event, StepStarted | StepCompleted | StepFailed) and event.step not in touched:
                touched.append(event.step)
            if isinstance(event, StepCompensated):
                undone.append(event.step)
        places = [touched.index(step) for step in undone]
        assert places == sorted(places, reverse=True)
        assert len(set(places)) == len(places)

    @invariant()
    def a_failure_for_good_turns_the_run_or_parks_it(self) -> None:
        names = [event.name for event in self.rehearsal.journal]
        for place, event in enumerate(self.rehearsal.journal):
            if isinstance(event, StepFailed) and event.retry_at is None:
                steps = {step.name: step for step in self.rehearsal.saga.steps}
                parks = event.undoing or steps[event.step].on_failure == "park"
                expected = "operation.parked" if parks else "operation.compensation_started"
                assert names[place + 1] == expected

    @invariant()
    def nothing_is_done_once_the_run_turned_back(self) -> None:
        names = [event.name for event in self.rehearsal.journal]
        if "operation.compensation_started" in names:
            rest = names[names.index("operation.compensation_started") :]
            assert "operation.step_completed" not in rest
            assert "operation.step_started" not in rest

    def teardown(self) -> None:
        """Left to itself in a world that works, the run ends."""
        if not hasattr(self, "rehearsal"):
            return
        rehearsal = self.rehearsal
        if rehearsal.operation.status is OperationStatus.PARKED:
            rehearsal.ask(RetryOperation(operation_id=rehearsal.operation_id))
        rehearsal.to_the_end()
        assert rehearsal.operation.finished
        self.an_ended_run_left_all_or_nothing()
        self.only_what_was_touched_is_undone_last_one_first()


TestAnyRun = AnyRun.TestCase
TestAnyRun.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
