"""A membership: the tenant's first admin becomes its owner, or is invited to."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tenant_domain.decision import Event, Ref
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.membership.commands import EstablishOwner
from tenant_domain.membership.decide import establish_owner, owner_ref, withdraw_owner
from tenant_domain.membership.state import Membership, evolve
from tenant_domain.values import invitation_id_of, member_stream
from tests.support.examples import EVENT_EXAMPLES
from tests.support.gwt import OTHER_TENANT

KNOWN = EstablishOwner(TENANT, OPERATION, "ada@acme.example", "Ada Lovelace", "auth0|ada")
UNKNOWN = KNOWN._replace(user_id=None)
INVITATION = invitation_id_of(OPERATION)
JOINED = EVENT_EXAMPLES["member.joined"]
INVITED = replace(EVENT_EXAMPLES["member.invited"], invitation_id=str(INVITATION))
REMOVED = EVENT_EXAMPLES["member.removed"]
REVOKED = replace(EVENT_EXAMPLES["member.invitation_revoked"], invitation_id=str(INVITATION))
USER = Ref("member", member_stream(TENANT, "auth0|ada"))
LETTER = Ref("member", INVITATION)


def after(*events: Event) -> Membership | None:
    state = None
    for event in events:
        state = evolve(state, event)
    return state


@pytest.mark.parametrize("before", [(), (JOINED, REMOVED)])
def test_an_admin_with_a_user_id_is_the_owner_at_once(before: tuple[Event, ...]):
    assert establish_owner(after(*before), KNOWN) == ((USER, JOINED),)


@pytest.mark.parametrize("before", [(), (INVITED, REVOKED)])
def test_an_admin_without_one_is_invited(before: tuple[Event, ...]):
    assert establish_owner(after(*before), UNKNOWN) == ((LETTER, INVITED),)


@pytest.mark.parametrize(("before", "command"), [(JOINED, KNOWN), (INVITED, UNKNOWN)])
def test_done_before_it_changes_nothing(before: Event, command: EstablishOwner):
    assert establish_owner(after(before), command) == ()


def test_it_is_undone_as_it_was_done():
    assert withdraw_owner(after(JOINED), USER) == ((USER, REMOVED),)
    assert withdraw_owner(after(INVITED), LETTER) == ((LETTER, REVOKED),)


@pytest.mark.parametrize("before", [(), (JOINED, REMOVED), (INVITED, REVOKED)])
def test_where_there_is_nothing_to_undo_nothing_changes(before: tuple[Event, ...]):
    assert withdraw_owner(after(*before), USER) == ()


def test_a_user_has_a_stream_in_each_tenant():
    streams = {
        owner_ref(TENANT, OPERATION, "ada").stream,
        owner_ref(OTHER_TENANT, OPERATION, "ada").stream,
        owner_ref(TENANT, OPERATION, "bob").stream,
        owner_ref(TENANT, OPERATION, None).stream,
    }
    assert len(streams) == 4


def test_a_membership_folds_to_where_it_stands():
    assert after(JOINED) == Membership("active", "owner", user_id="auth0|ada")
    assert after(INVITED) == Membership("invited", "owner", invitation_id=str(INVITATION))
    assert after(JOINED, REMOVED) == Membership("removed", "owner", user_id="auth0|ada")
    assert after(INVITED, REVOKED) == Membership("revoked", "owner", invitation_id=str(INVITATION))


def test_what_comes_before_the_first_fact_changes_nothing():
    assert after(REMOVED) is None
    assert after(REVOKED) is None
