"""Several tenants at once, in any order of commands and of the sagas' facts: what always holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from handlers.wire.events import Meta, encoded, event_of
from tenant_domain.catalogue import PLANS, Policy
from tenant_domain.decision import UNCHANGED, Command, Decision, Event, NewEvent, Ref
from tenant_domain.operation import decide as operation
from tenant_domain.operation.commands import CancelOperation, CompensateOperation, RetryOperation
from tenant_domain.operation.events import CompensationStarted
from tenant_domain.operation.state import Operation, OperationStatus
from tenant_domain.refusals import (
    InvalidCommand,
    InvalidTransition,
    LegalHold,
    NotFound,
    OperationInProgress,
    Refusal,
    TenantExists,
    TenantGone,
    TenantNotFound,
)
from tenant_domain.registry import ENTITIES
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Release
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant import decide
from tenant_domain.tenant.commands import (
    Admin,
    CancelTermination,
    PlaceLegalHold,
    Provision,
    ReleaseLegalHold,
    Resume,
    Suspend,
    Terminate,
    UpdateProfile,
    Upgrade,
)
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Status, subdomain_stream
from tests.support.gwt import NOW, Facts

TENANTS = [UUID(int=number) for number in (1, 2, 3)]
LABELS = ["acme", "globex", "initech", "admin"]
MOVES: dict[Status | None, set[Status | None]] = {
    None: {None, Status.PROVISIONING},
    Status.PROVISIONING: {Status.PROVISIONING, Status.ACTIVE, Status.FAILED},
    Status.ACTIVE: {Status.ACTIVE, Status.SUSPENDED, Status.PENDING_DELETION},
    Status.SUSPENDED: {Status.SUSPENDED, Status.ACTIVE, Status.PENDING_DELETION},
    Status.FAILED: {Status.FAILED, Status.PENDING_DELETION},
    Status.PENDING_DELETION: {
        Status.PENDING_DELETION,
        Status.ACTIVE,
        Status.SUSPENDED,
        Status.FAILED,
        Status.PURGING,
    },
    Status.PURGING: {Status.PURGING, Status.DELETED},
    Status.DELETED: {Status.DELETED},
}
WHATEVER_HOLDS = (Provision, CancelTermination, PlaceLegalHold, ReleaseLegalHold)
"""Commands that an operation which holds the tenant does not keep from being decided."""

tenants = st.sampled_from(TENANTS)
labels = st.sampled_from(LABELS)
admins = st.builds(
    Admin,
    email=st.just("ada@acme.example"),
    name=st.just("Ada"),
    user_id=st.sampled_from([None, "ada"]),
)
own_settings = st.dictionaries(
    st.sampled_from("abc"), st.sampled_from([None, 0, False, 1, True, "x", [1], [True]])
)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        Provision,
        name=st.sampled_from(["Acme", "Globex"]),
        subdomain=labels,
        plan=st.sampled_from(["basic", "enterprise", "gold"]),
        admin=admins,
        settings=own_settings,
    ),
    st.builds(UpdateProfile, name=st.sampled_from(["Acme", "Globex"]), subdomain=st.none() | labels),
    st.builds(UpdateProfile, settings=own_settings),
    st.builds(Suspend, reason=st.just("unpaid")),
    st.just(Resume()),
)
plan_changes = st.builds(
    Upgrade,
    plan=st.sampled_from(["free", "basic", "enterprise"]),
    effective=st.sampled_from(["now", "period_end"]),
)
holds = st.sampled_from(
    [PlaceLegalHold(reason="a case"), PlaceLegalHold(reason="another"), ReleaseLegalHold()]
)


class Tenants(RuleBasedStateMachine):
    """Commands of three tenants that fight for three subdomains, and sagas that end well or badly."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = Facts()
        self.running: list[UUID] = []
        self.operations = 0
        self.statuses: dict[UUID, Status | None] = dict.fromkeys(TENANTS)

    # rules

    @initialize(how_many=st.integers(0, len(TENANTS)))
    def some_are_in_service(self, how_many: int) -> None:
        for tenant_id, label in zip(TENANTS[:how_many], LABELS, strict=False):
            admin = Admin(email="ada@acme.example", name="Ada")
            self.ask(tenant_id, Provision(name="Acme", subdomain=label, admin=admin))
            self.finish(self.operation(self.running[-1]))

    @rule(tenant_id=tenants, command=commands)
    def ask(self, tenant_id: UUID, command: Command) -> None:
        before = self.tenant(tenant_id)
        try:
            decision = self.decided(tenant_id, command)
        except Refusal as refusal:
            self.refused(before, command, refusal)
            return
        self.completed(before, command, decision)
        self.append(decision.events)
        if isinstance(command, UpdateProfile):
            assert self.decided(tenant_id, command) == UNCHANGED
            self.has_come_true(tenant_id, command)

    @rule(tenant_id=tenants, command=plan_changes)
    def ask_for_another_plan(self, tenant_id: UUID, command: Command) -> None:
        self.ask(tenant_id, command)

    @rule(tenant_id=tenants, confirmed=st.booleans(), cancelled=st.booleans())
    def ask_for_its_end(self, tenant_id: UUID, confirmed: bool, cancelled: bool) -> None:
        tenant = self.tenant(tenant_id)
        label = tenant.subdomain if tenant and confirmed else "another"
        self.ask(tenant_id, CancelTermination() if cancelled else Terminate(confirm_subdomain=label))

    @rule(tenant_id=tenants, command=holds)
    def ask_for_a_hold(self, tenant_id: UUID, command: Command) -> None:
        self.ask(tenant_id, command)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), kind=st.sampled_from([RetryOperation, CancelOperation, CompensateOperation]))
    def operate(self, data: st.DataObject, kind: Any) -> None:
        run = self.run(data)
        tenant = self.tenant(run.tenant_id)
        assert tenant is not None
        command = kind(operation_id=run.operation_id)
        try:
            decision = self.decided(run.tenant_id, command)
        except LegalHold:
            assert (run.kind, kind) == ("termination", RetryOperation)
            assert tenant.legal_hold
            return
        except InvalidTransition:
            assert tenant.status is Status.PURGING
            return
        except TenantGone:
            assert tenant.status is Status.DELETED
            return
        assert decision.operation_id == run.operation_id
        self.append(decision.events)
        assert self.decided(run.tenant_id, command).events == ()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """A plan change takes hold when its time has come; a termination passes its point of no return."""
        run = self.run(data)
        tenant = self.tenant(run.tenant_id)
        assert tenant is not None
        if run.status is not OperationStatus.RUNNING or tenant.operation_id not in (None, run.operation_id):
            return
        if run.kind == "upgrade":
            self.tell(run, *decide.plan_change_begun(tenant, run.operation_id))
        elif run.kind == "termination":
            self.tell(run, *decide.purge_started(tenant, run.operation_id))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), well=st.booleans())
    def end(self, data: st.DataObject, well: bool) -> None:
        """The saga of a run does all its steps, or undoes them, and says so to the tenant."""
        run = self.run(data)
        tenant = self.tenant(run.tenant_id)
        assert tenant is not None
        if run.status is OperationStatus.PARKED:
            return
        held = tenant.operation_id == run.operation_id
        if run.ending is None and well and not held:
            return
        if run.ending is None and not well and tenant.status is not Status.PURGING:
            failed = CompensationStarted(ending="rolled_back", reason="it did not work")
            self.append([NewEvent(operation.ref(run.operation_id), failed)])
            run = self.operation(run.operation_id)
        self.finish(run)

    def finish(self, run: Operation) -> None:
        self.append(self.last_facts(run))
        self.append([NewEvent(operation.ref(run.operation_id), operation.ended(run, NOW))])
        self.running.remove(run.operation_id)

    def tell(self, run: Operation, *events: Event) -> None:
        self.append([NewEvent(decide.ref(run.tenant_id), event) for event in events])

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tenant_id=tenants)
    def meddle(self, data: st.DataObject, tenant_id: UUID) -> None:
        """No tenant touches another's operation."""
        run = self.run(data)
        if tenant_id == run.tenant_id:
            return
        with pytest.raises((NotFound, TenantNotFound, TenantGone)):
            self.decided(tenant_id, CancelOperation(operation_id=run.operation_id))

    # what a rule needs

    def append(self, events: Iterable[NewEvent]) -> None:
        """Write one fact after the other; each moves a tenant only as it may."""
        for new in events:
            self.facts.append([new])
            for tenant_id, before in self.statuses.items():
                tenant = self.tenant(tenant_id)
                now = tenant.status if tenant else None
                assert now in MOVES[before]
                self.statuses[tenant_id] = now

    def tenant(self, tenant_id: UUID) -> Tenant | None:
        return self.facts.states.get(tenant_id)

    def operation(self, operation_id: UUID) -> Operation:
        return self.facts.states[operation_id]

    def run(self, data: st.DataObject) -> Operation:
        return self.operation(data.draw(st.sampled_from(self.running)))

    def decided(self, tenant_id: UUID, command: Command) -> Decision:
        self.operations += 1
        return self.facts.decide(tenant_id, command, UUID(int=1000 + self.operations), NOW, Policy())

    def completed(self, before: Tenant | None, command: Command, decision: Decision) -> None:
        assert before is None or before.operation_id is None or isinstance(command, WHATEVER_HOLDS)
        started = [new.ref.stream for new in decision.events if new.event.name == "operation.started"]
        if started:
            assert started == [decision.operation_id]
            self.running += started
        elif decision.operation_id is not None:
            assert decision.operation_id in self.running

    def has_come_true(self, tenant_id: UUID, command: UpdateProfile) -> None:
        tenant = self.tenant(tenant_id)
        assert tenant is not None
        assert command.name in (None, tenant.name)
        assert command.subdomain in (None, tenant.subdomain)
        for key, value in (command.settings or {}).items():
            assert repr(tenant.settings.get(key)) == repr(value)

    def refused(self, before: Tenant | None, command: Command, refusal: Refusal) -> None:
        if before is not None and before.operation_id and not isinstance(command, WHATEVER_HOLDS):
            assert isinstance(refusal, OperationInProgress)
            assert refusal.extra["operation_id"] == str(before.operation_id)
        if before is not None and before.status is Status.DELETED:
            assert isinstance(refusal, TenantExists if isinstance(command, Provision) else TenantGone)
        assert refusal.recorded or isinstance(refusal, InvalidCommand)

    def last_facts(self, run: Operation) -> list[NewEvent]:
        tenant = self.tenant(run.tenant_id)
        assert tenant is not None
        claim = self.facts.states.get(subdomain_stream(tenant.subdomain))
        own = Ref("tenant", run.tenant_id)
        if run.kind == "provisioning" and run.ending:
            reason = run.reason or ""
            return list(decide.provisioning_failed(run.tenant_id, tenant, claim, run.operation_id, reason))
        facts = [NewEvent(own, event) for event in self.own_facts(run, tenant)]
        if run.kind == "termination" and not run.ending:
            facts += subdomain.release(claim, Release(tenant.subdomain, run.tenant_id))
        return facts

    def own_facts(self, run: Operation, tenant: Tenant) -> list[Event]:
        id, plan = run.operation_id, run.input.get("plan", "")
        match run.kind, run.ending:
            case "provisioning", None:
                return [*decide.defaults_of(tenant, id, Policy()), decide.activated(id)]
            case "suspension", None:
                return [decide.access_closed(id)]
            case "resumption", None:
                return [decide.access_opened(id)]
            case "upgrade", None:
                return [decide.plan_changed(tenant, id, plan, Policy())]
            case "termination", None:
                return [*decide.purge_started(tenant, id), decide.purged(id, "a certificate", "its hash")]
            case "upgrade", _:
                return [decide.plan_change_rolled_back(tenant, id, plan, run.reason or "")]
            case "termination", _:
                return [decide.termination_cancelled(id, Status(run.input["former"]))]
            case kind, _:
                return [
                    decide.status_reverted(id, Status.ACTIVE if kind == "suspension" else Status.SUSPENDED)
                ]

    # what always holds

    @invariant()
    def every_living_tenant_alone_holds_its_subdomain(self) -> None:
        held: dict[UUID, str] = {}
        for state in self.facts.states.values():
            if isinstance(state, SubdomainClaim) and state.holder:
                assert state.holder not in held, "two subdomains of one tenant"
                held[state.holder] = state.subdomain
        living = {
            tenant_id: tenant.subdomain
            for tenant_id in TENANTS
            if (tenant := self.tenant(tenant_id)) and not _is_over(tenant)
        }
        assert held == living

    @invariant()
    def a_tenant_is_held_by_one_unfinished_run_and_a_change_that_waits_holds_nobody(self) -> None:
        for tenant_id in TENANTS:
            tenant = self.tenant(tenant_id)
            runs = [run for run in map(self.operation, self.running) if run.tenant_id == tenant_id]
            waiting = [run.operation_id for run in runs if tenant and self.waits(run, tenant)]
            holding = [run.operation_id for run in runs if run.operation_id not in waiting]
            assert len(waiting) <= 1
            assert holding == ([tenant.operation_id] if tenant and tenant.operation_id else [])

    def waits(self, run: Operation, tenant: Tenant) -> bool:
        return run.kind == "upgrade" and tenant.operation_id != run.operation_id

    @invariant()
    def what_is_under_way_stands_in_the_tenant_as_long_as_its_run_does(self) -> None:
        for tenant_id in TENANTS:
            tenant = self.tenant(tenant_id)
            if tenant is None or tenant.status is Status.DELETED:
                continue
            runs = {run.kind: run for run in map(self.operation, self.running) if run.tenant_id == tenant_id}
            for kind, known in (("upgrade", tenant.plan_change), ("termination", tenant.termination)):
                assert (known.operation_id if known else None) == (
                    runs[kind].operation_id if kind in runs else None
                )
            if "termination" in runs and "upgrade" in runs:
                assert runs["upgrade"].ending is not None
            if tenant.legal_hold and "termination" in runs:
                assert runs["termination"].status is not OperationStatus.RUNNING

    @invariant()
    def a_tenant_in_service_has_what_its_plan_gives(self) -> None:
        for tenant_id in TENANTS:
            tenant = self.tenant(tenant_id)
            if tenant and tenant.status in (Status.ACTIVE, Status.SUSPENDED):
                plan = PLANS[tenant.plan]
                assert (tenant.quotas, tenant.flags) == (plan.quotas, plan.flags)

    @invariant()
    def only_a_suspended_tenant_or_one_being_resumed_has_a_reason(self) -> None:
        for tenant_id in TENANTS:
            tenant = self.tenant(tenant_id)
            if tenant and tenant.operation_id is None and tenant.status is not Status.DELETED:
                assert (tenant.suspension_reason is not None) == (tenant.status is Status.SUSPENDED)

    @invariant()
    def settings_never_hold_a_null(self) -> None:
        for tenant_id in TENANTS:
            tenant = self.tenant(tenant_id)
            assert tenant is None or None not in tenant.settings.values()

    def teardown(self) -> None:
        """Folding the whole log anew, as it would be stored, gives the same states."""
        anew: dict[UUID, Any] = {}
        for ref, event in self.facts.log:
            read_back = event_of(event.name, encoded(event, Meta()))
            anew[ref.stream] = ENTITIES[ref.entity].evolve(anew.get(ref.stream), read_back)
        assert anew == self.facts.states


def _is_over(tenant: Tenant) -> bool:
    """Return whether the tenant has given its subdomain back: it could not be made, or is deleted."""
    failed = tenant.termination is not None and tenant.termination.former is Status.FAILED
    return failed or tenant.status in (Status.FAILED, Status.DELETED)


TestTenants = Tenants.TestCase
TestTenants.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
