"""A subdomain: who holds it."""

from __future__ import annotations

import pytest

from tenant_domain.decision import Event
from tenant_domain.examples import TENANT
from tenant_domain.refusals import SubdomainTaken
from tenant_domain.subdomain.commands import Claim, Release
from tenant_domain.subdomain.decide import claim, ref, release
from tenant_domain.subdomain.events import SubdomainClaimed
from tenant_domain.subdomain.state import SubdomainClaim, evolve
from tenant_domain.values import subdomain_stream
from tests.support.examples import EVENT_EXAMPLES
from tests.support.gwt import OTHER_TENANT

OURS = Claim("acme", TENANT)
CLAIMED = EVENT_EXAMPLES["subdomain.claimed"]
RELEASED = EVENT_EXAMPLES["subdomain.released"]


def after(*events: Event) -> SubdomainClaim | None:
    state = None
    for event in events:
        state = evolve(state, event)
    return state


@pytest.mark.parametrize("before", [(), (CLAIMED, RELEASED)])
def test_a_free_subdomain_is_claimed(before: tuple[Event, ...]):
    assert claim(after(*before), OURS) == ((ref("acme"), CLAIMED),)


def test_claiming_what_one_holds_changes_nothing():
    assert claim(after(CLAIMED), OURS) == ()


def test_claiming_what_another_tenant_holds_is_refused():
    with pytest.raises(SubdomainTaken) as refused:
        claim(after(CLAIMED), Claim("acme", OTHER_TENANT))
    assert refused.value.extra == {"subdomain": "acme"}
    assert str(TENANT) not in refused.value.detail


def test_the_holder_releases_it():
    assert release(after(CLAIMED), Release("acme", TENANT)) == ((ref("acme"), RELEASED),)
    assert after(CLAIMED, RELEASED) == SubdomainClaim("acme", None)


@pytest.mark.parametrize("before", [(), (CLAIMED,), (CLAIMED, RELEASED)])
def test_releasing_what_one_does_not_hold_changes_nothing(before: tuple[Event, ...]):
    assert release(after(*before), Release("acme", OTHER_TENANT)) == ()


def test_whoever_comes_next_may_hold_it():
    next_one = SubdomainClaimed(subdomain="acme", tenant_id=str(OTHER_TENANT))
    assert after(CLAIMED, RELEASED, next_one) == SubdomainClaim("acme", OTHER_TENANT)


def test_every_subdomain_has_its_own_stream():
    assert ref("acme").stream == subdomain_stream("acme") != subdomain_stream("acme-insight")
