"""A tenant: what it is asked, and what follows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from tenant_domain.catalogue import PLANS, Policy
from tenant_domain.decision import Command, Context, World
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.operation.events import OperationStarted
from tenant_domain.refusals import (
    InvalidCommand,
    InvalidTransition,
    OperationInProgress,
    QuotaExceeded,
    SubdomainTaken,
    TenantExists,
    TenantGone,
    TenantNotFound,
)
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased
from tenant_domain.tenant import decide
from tenant_domain.tenant.commands import Admin, Provision, Resume, Suspend, UpdateProfile
from tenant_domain.tenant.decide import PROVISIONING
from tenant_domain.tenant.events import (
    AdminContact,
    DefaultsConfigured,
    ProfileUpdated,
    ProvisioningStarted,
    Resumed,
    StatusReverted,
    Suspended,
)
from tenant_domain.tenant.state import Tenant, evolve
from tenant_domain.values import Status
from tests.support.examples import COMMAND_EXAMPLES, EVENT_EXAMPLES
from tests.support.gwt import NEXT_OPERATION, NOW, OTHER_TENANT, given, of
from tests.support.stories import (
    BEING_MADE,
    BEING_RESUMED,
    BEING_SUSPENDED,
    FAILED,
    IN_SERVICE,
    RESUMED,
    SUSPENDED,
    told,
)

PROVISION = COMMAND_EXAMPLES["provision"]
ADMIN = Admin(email="ada@acme.example", name="Ada Lovelace")
PLAIN = Provision(name="Acme", subdomain="acme", admin=ADMIN)


def operation_started(kind: str, *steps: str) -> OperationStarted:
    return OperationStarted(
        operation_id=str(NEXT_OPERATION), tenant_id=str(TENANT), kind=kind, steps=steps, started_at=NOW
    )


# provision


def test_provisioning_claims_the_subdomain_and_starts_an_operation():
    started = replace(
        EVENT_EXAMPLES["tenant.provisioning_started"],
        operation_id=str(NEXT_OPERATION),
        trial_ends_at=NOW + timedelta(days=30),
    )
    given().when(PROVISION).then(
        started,
        SubdomainClaimed(subdomain="acme", tenant_id=str(TENANT)),
        operation_started("provisioning", *PROVISIONING),
        operation_id=NEXT_OPERATION,
    )


def test_what_is_not_given_has_its_default():
    given().when(PLAIN).then(
        ProvisioningStarted(
            operation_id=str(NEXT_OPERATION),
            tenant_name="Acme",
            subdomain="acme",
            plan="basic",
            region="eu-central",
            admin=AdminContact(email="ada@acme.example", name="Ada Lovelace"),
        ),
        SubdomainClaimed(subdomain="acme", tenant_id=str(TENANT)),
        operation_started("provisioning", *PROVISIONING),
        operation_id=NEXT_OPERATION,
    )


def test_a_setting_given_as_null_is_not_set():
    command = PLAIN.model_copy(update={"settings": {"locale": None, "theme": "dark"}})
    facts = given().when(command)
    assert _first(facts).settings == {"theme": "dark"}


def test_settings_have_an_end():
    policy = Policy(settings_bytes=100)
    full = {"settings": {"a": "x" * 92}}
    size = {"resource": "settings", "limit": 100, "used": 101}
    more = PLAIN.model_copy(update={"settings": {"a": "x" * 93}})
    assert given().when(PLAIN.model_copy(update=full), policy=policy).decision.events
    given().when(more, policy=policy).then_refused(QuotaExceeded, **size)
    given(*IN_SERVICE).when(UpdateProfile(settings={"a": "x" * 100}), policy=policy).then_refused(
        QuotaExceeded, resource="settings", limit=100, used=149
    )
    assert given(*IN_SERVICE).when(UpdateProfile(settings={"locale": None}), policy=policy).decision.events


def test_a_trial_of_no_days_is_no_trial():
    assert _first(given().when(PLAIN.model_copy(update={"trial_days": 0}))).trial_ends_at is None


@pytest.mark.parametrize("before", [BEING_MADE, IN_SERVICE, SUSPENDED, FAILED])
def test_a_tenant_id_is_never_used_twice(before: Any):
    given(*before).when(PLAIN).then_refused(TenantExists)


def test_a_subdomain_that_another_tenant_holds_is_refused():
    given(of(OTHER_TENANT, SubdomainClaimed(subdomain="acme", tenant_id=str(OTHER_TENANT)))).when(
        PLAIN
    ).then_refused(SubdomainTaken, subdomain="acme")


def test_a_subdomain_is_free_again_after_a_failed_provisioning():
    given(*FAILED).when(PLAIN, of_tenant=OTHER_TENANT).then(
        ProvisioningStarted(
            operation_id=str(NEXT_OPERATION),
            tenant_name="Acme",
            subdomain="acme",
            plan="basic",
            region="eu-central",
            admin=AdminContact(email="ada@acme.example", name="Ada Lovelace"),
        ),
        SubdomainClaimed(subdomain="acme", tenant_id=str(OTHER_TENANT)),
        replace(operation_started("provisioning", *PROVISIONING), tenant_id=str(OTHER_TENANT)),
        operation_id=NEXT_OPERATION,
    )


def test_a_plan_that_is_not_in_the_catalogue_is_refused():
    given().when(PLAIN.model_copy(update={"plan": "gold"})).then_refused(
        InvalidCommand,
        errors=[
            {
                "field": "plan",
                "detail": "must be a plan on sale: free, basic, professional, enterprise",
            }
        ],
    )


def test_a_plan_that_is_no_longer_sold_is_refused():
    policy = Policy(plans={**PLANS, "basic": replace(PLANS["basic"], on_sale=False)})
    given().when(PLAIN, policy=policy).then_refused(
        InvalidCommand,
        errors=[{"field": "plan", "detail": "must be a plan on sale: free, professional, enterprise"}],
    )


def test_a_region_that_is_not_served_is_refused():
    given().when(PLAIN.model_copy(update={"region": "mars"}), policy=Policy(regions=("here",))).then_refused(
        InvalidCommand,
        errors=[{"field": "region", "detail": "must be a region that is served: here"}],
    )


def test_a_reserved_subdomain_is_refused():
    given().when(PLAIN.model_copy(update={"subdomain": "admin"})).then_refused(
        InvalidCommand, errors=[{"field": "subdomain", "detail": "'admin' is reserved; choose another"}]
    )


# update_profile


def test_only_the_fields_that_change_are_told():
    given(*IN_SERVICE).when(UpdateProfile(name="Acme Insight", metadata={"crm_id": "A-4711"})).then(
        ProfileUpdated(tenant_name="Acme Insight")
    )


def test_a_new_subdomain_is_claimed_and_the_former_one_released():
    given(*IN_SERVICE).when(COMMAND_EXAMPLES["update_profile"]).then(
        EVENT_EXAMPLES["tenant.profile_updated"],
        SubdomainReleased(subdomain="acme", tenant_id=str(TENANT)),
        SubdomainClaimed(subdomain="acme-insight", tenant_id=str(TENANT)),
    )


def test_metadata_replaces_the_former():
    facts = given(*IN_SERVICE).when(UpdateProfile(metadata={})).then(ProfileUpdated(metadata={}))
    assert facts.states[TENANT].metadata == {}


def test_given_settings_are_set_and_null_removes_one():
    change: dict[str, Any] = {"locale": None, "theme": "dark"}
    after = {"mfa": {"required": True}, "theme": "dark"}
    updated = ProfileUpdated(settings=change, settings_after=after)
    facts = given(*IN_SERVICE).when(UpdateProfile(settings=change)).then(updated)
    assert facts.states[TENANT].settings == after


def test_settings_of_a_former_version_are_merged_as_they_come():
    tenant = given(*IN_SERVICE, ProfileUpdated(settings={"locale": None, "theme": "dark"})).state(TENANT)
    assert tenant.settings == {"mfa": {"required": True}, "theme": "dark"}


def test_a_setting_that_becomes_one_where_it_was_true_has_changed():
    change: dict[str, Any] = {"mfa": {"required": 1}}
    after = {"locale": "en-GB", **change}
    updated = ProfileUpdated(settings=change, settings_after=after)
    given(*IN_SERVICE).when(UpdateProfile(settings=change)).then(updated)


@pytest.mark.parametrize(
    "same",
    [
        UpdateProfile(name="Acme Analytics"),
        UpdateProfile(subdomain="acme"),
        UpdateProfile(metadata={"crm_id": "A-4711"}),
        UpdateProfile(settings={"mfa": {"required": True}}),
        UpdateProfile(settings={"never_set": None}),
        UpdateProfile(settings={}),
    ],
)
def test_a_profile_that_is_already_so_changes_nothing(same: UpdateProfile):
    given(*IN_SERVICE).when(same).then_nothing()


def test_a_suspended_tenant_can_be_renamed():
    given(*SUSPENDED).when(UpdateProfile(name="Acme 2")).then(ProfileUpdated(tenant_name="Acme 2"))


def test_moving_to_a_subdomain_that_another_tenant_holds_is_refused():
    other = of(OTHER_TENANT, SubdomainClaimed(subdomain="globex", tenant_id=str(OTHER_TENANT)))
    given(other, *IN_SERVICE).when(UpdateProfile(subdomain="globex")).then_refused(
        SubdomainTaken, subdomain="globex"
    )


def test_moving_to_a_reserved_subdomain_is_refused():
    given(*IN_SERVICE).when(UpdateProfile(subdomain="www")).then_refused(
        InvalidCommand, errors=[{"field": "subdomain", "detail": "'www' is reserved; choose another"}]
    )


def test_a_failed_tenant_is_not_updated():
    given(*FAILED).when(UpdateProfile(name="Acme")).then_refused(
        InvalidTransition, **{"from": "failed", "command": "update_profile"}
    )


# suspend, resume


def test_suspending_takes_the_tenant_out_of_service_at_once():
    facts = (
        given(*IN_SERVICE)
        .when(Suspend(reason="unpaid"))
        .then(
            Suspended(operation_id=str(NEXT_OPERATION), reason="unpaid"),
            operation_started("suspension", "close_access"),
            operation_id=NEXT_OPERATION,
        )
    )
    assert facts.states[TENANT].status is Status.SUSPENDED
    assert facts.states[TENANT].operation_id == NEXT_OPERATION


def test_resuming_puts_it_back_at_once():
    facts = (
        given(*SUSPENDED)
        .when(Resume())
        .then(
            Resumed(operation_id=str(NEXT_OPERATION)),
            operation_started("resumption", "open_access"),
            operation_id=NEXT_OPERATION,
        )
    )
    assert facts.states[TENANT].status is Status.ACTIVE


def test_suspending_a_suspended_tenant_changes_nothing():
    given(*SUSPENDED).when(Suspend(reason="again")).then_nothing()


@pytest.mark.parametrize("before", [IN_SERVICE, RESUMED])
def test_resuming_an_active_tenant_changes_nothing(before: Any):
    given(*before).when(Resume()).then_nothing()


@pytest.mark.parametrize("command", [Suspend(reason="unpaid"), Resume()])
def test_a_failed_tenant_is_neither_suspended_nor_resumed(command: Command):
    given(*FAILED).when(command).then_refused(
        InvalidTransition, **{"from": "failed", "command": command.name_}
    )


# what holds for all of them

CHANGES = [UpdateProfile(name="Acme"), Suspend(reason="unpaid"), Resume()]


@pytest.mark.parametrize("command", CHANGES)
def test_a_tenant_that_never_existed_is_not_found(command: Command):
    given().when(command).then_refused(TenantNotFound)


@pytest.mark.parametrize("command", CHANGES)
def test_a_deleted_tenant_is_gone(command: Command):
    active = given(*IN_SERVICE).state(TENANT)
    world = World({TENANT: replace(active, status=Status.DELETED)})
    with pytest.raises(TenantGone):
        getattr(decide, command.name_)(command, world, Context(TENANT, NOW, NEXT_OPERATION, None, Policy()))


@pytest.mark.parametrize("command", CHANGES)
@pytest.mark.parametrize("before", [BEING_MADE, BEING_SUSPENDED, BEING_RESUMED])
def test_a_tenant_that_an_operation_holds_refuses(before: Any, command: Command):
    given(*before).when(command).then_refused(OperationInProgress, operation_id=str(OPERATION))


# what the sagas add


def test_the_defaults_are_those_of_the_plan():
    tenant: Tenant = given(*BEING_MADE).state(TENANT)
    assert decide.defaults_of(tenant, OPERATION, Policy()) == told("tenant.defaults_configured")
    assert isinstance(EVENT_EXAMPLES["tenant.defaults_configured"], DefaultsConfigured)


def test_a_provisioning_that_failed_leaves_the_subdomain_free():
    before = given(*BEING_MADE)
    claim = before.state(subdomain.ref("acme").stream)
    facts = decide.provisioning_failed(TENANT, before.state(TENANT), claim, OPERATION, "no space")
    assert [new.event.name for new in facts] == ["tenant.provisioning_failed", "subdomain.released"]


def test_a_provisioning_whose_subdomain_went_elsewhere_leaves_it_there():
    other = of(OTHER_TENANT, SubdomainClaimed(subdomain="acme", tenant_id=str(OTHER_TENANT)))
    claim = given(other).state(subdomain.ref("acme").stream)
    tenant = given(*BEING_MADE).state(TENANT)
    facts = decide.provisioning_failed(TENANT, tenant, claim, OPERATION, "no space")
    assert [new.event.name for new in facts] == ["tenant.provisioning_failed"]


def test_the_ends_of_the_operations_are_the_canonical_facts():
    ends = (
        decide.activated(OPERATION),
        decide.access_closed(OPERATION),
        decide.access_opened(OPERATION),
        decide.status_reverted(OPERATION, Status.ACTIVE),
    )
    assert ends == told(
        "tenant.activated", "tenant.access_closed", "tenant.access_opened", "tenant.status_reverted"
    )


def test_a_suspension_that_was_undone_leaves_an_active_tenant_without_a_reason():
    tenant = given(*BEING_SUSPENDED, *told("tenant.status_reverted")).state(TENANT)
    assert (tenant.status, tenant.operation_id, tenant.suspension_reason) == (Status.ACTIVE, None, None)


def test_a_resumption_that_was_undone_leaves_the_reason_of_the_suspension():
    reverted = StatusReverted(operation_id=str(OPERATION), status="suspended")
    tenant = given(*BEING_RESUMED, reverted).state(TENANT)
    assert tenant == given(*SUSPENDED).state(TENANT)


def test_a_tenant_that_was_suspended_and_resumed_is_as_before():
    assert given(*RESUMED).state(TENANT) == given(*IN_SERVICE).state(TENANT)


def test_what_comes_before_the_first_fact_changes_nothing():
    assert evolve(None, EVENT_EXAMPLES["tenant.activated"]) is None


def test_a_profile_update_of_nothing_leaves_a_tenant_as_it_is():
    tenant = given(*IN_SERVICE).state(TENANT)
    assert evolve(tenant, ProfileUpdated()) == tenant
    assert ProfileUpdated().subdomain is UNSET


def _first(outcome: Any) -> ProvisioningStarted:
    event = outcome.decision.events[0].event
    assert isinstance(event, ProvisioningStarted)
    assert UUID(event.operation_id) == NEXT_OPERATION
    return event
