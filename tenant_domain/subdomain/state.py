"""State of a subdomain."""

from __future__ import annotations

from uuid import UUID

import msgspec

from tenant_domain.decision import Event
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased


class SubdomainClaim(msgspec.Struct, frozen=True):
    """Who holds the subdomain; None once it is free again."""

    subdomain: str
    holder: UUID | None


def evolve(state: SubdomainClaim | None, event: Event) -> SubdomainClaim | None:
    """Return the state after `event`."""
    match event:
        case SubdomainClaimed():
            return SubdomainClaim(event.subdomain, UUID(event.tenant_id))
        case SubdomainReleased():
            return SubdomainClaim(event.subdomain, None)
        case _:
            return state
