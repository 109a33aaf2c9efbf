"""The aggregate `member`: one user, or one invited address, in one tenant."""

from __future__ import annotations

from tenant_domain.aggregate import Aggregate
from tenant_domain.membership import examples
from tenant_domain.membership.events import EVENTS, UPCASTERS
from tenant_domain.membership.state import Membership, evolve

AGGREGATE = Aggregate(
    "member", Membership, evolve, events=EVENTS, examples=examples.EVENTS, upcasters=UPCASTERS
)
