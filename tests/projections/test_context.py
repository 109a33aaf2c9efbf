"""The live context: what an entry says of a tenant, and which facts can change it."""

import itertools
from uuid import UUID

import msgspec
import pytest

from projections.context import FACTS, context_of
from tenant_domain.decision import Event
from tenant_domain.tenant import events as ten
from tenant_domain.tenant.state import Tenant, evolve
from tenant_domain.values import Status
from tests.support.examples import EVENT_EXAMPLES
from tests.support.histories import born

TENANT = UUID("0190c1f2-7a3b-7c4d-8e5f-0a1b2c3d4e5f")
EXAMPLES = {event.name: event for event in EVENT_EXAMPLES.values() if type(event) in ten.EVENTS}


def stood(*events: Event) -> Tenant:
    state: Tenant | None = None
    for event in events:
        state = evolve(state, event)
    assert state is not None
    return state


def said(state: Tenant) -> bytes:
    return msgspec.json.encode(context_of(TENANT, state, 1, 1))


def states() -> list[Tenant]:
    """Tenants in every status, and all that one or two facts more make of them."""
    first = [stood(born()), *(stood(born(), event) for event in EXAMPLES.values())]
    return [*first, *(stood(born(), *two) for two in itertools.permutations(EXAMPLES.values(), 2))]


def test_every_fact_that_changes_an_entry_is_known_to_do_so_and_no_other() -> None:
    changing = {
        name
        for state, (name, event) in itertools.product(states(), EXAMPLES.items())
        if said(stood_on(state, event)) != said(state)
    }
    assert changing | {ten.ProvisioningStarted.name} == FACTS


def stood_on(state: Tenant, event: Event) -> Tenant:
    after = evolve(state, event)
    assert after is not None
    return after


def test_an_entry_has_what_a_hot_path_needs() -> None:
    defaults = ten.DefaultsConfigured(
        operation_id=str(TENANT), quotas={"users": 5}, flags={"sso": True}, branding={"theme": "x"}
    )
    suspended = ten.Suspended(operation_id=str(TENANT), reason="unpaid")
    entry = context_of(TENANT, stood(born(), defaults, suspended), 7, 4711)
    assert msgspec.json.decode(msgspec.json.encode(entry)) == {
        "tenant_id": str(TENANT),
        "status": "suspended",
        "plan": "basic",
        "flags": {"sso": True},
        "limits": {"users": 5},
        "version": 7,
        "position": 4711,
    }


@pytest.mark.parametrize("status", [Status.PURGING, Status.DELETED])
def test_of_a_tenant_that_is_being_destroyed_only_the_status_is_left(status: Status) -> None:
    state = msgspec.structs.replace(stood(born(), *EXAMPLES.values()), status=status)
    assert set(msgspec.json.decode(said(state))) == {"tenant_id", "status", "version", "position"}
