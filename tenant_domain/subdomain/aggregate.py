"""The aggregate `subdomain`: who holds one of the labels that tenants are found by."""

from __future__ import annotations

from tenant_domain.aggregate import Aggregate
from tenant_domain.subdomain import examples
from tenant_domain.subdomain.events import EVENTS, UPCASTERS
from tenant_domain.subdomain.state import SubdomainClaim, evolve

AGGREGATE = Aggregate(
    "subdomain", SubdomainClaim, evolve, events=EVENTS, examples=examples.EVENTS, upcasters=UPCASTERS
)
