"""State of a subdomain."""

from __future__ import annotations

from uuid import UUID

import msgspec

from tenant_domain.decision import Event, Unfolded
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased


class SubdomainClaim(msgspec.Struct, frozen=True):
    """Who holds the subdomain; None once it is free again."""

    subdomain: str
    holder: UUID | None


def evolve(_state: SubdomainClaim | None, event: Event) -> SubdomainClaim | None:
    """Return the state after `event`. Raises Unfolded for one that is of no aggregate of this kind."""
    match event:
        case SubdomainClaimed():
            return SubdomainClaim(event.subdomain, UUID(event.tenant_id))
        case SubdomainReleased():
            return SubdomainClaim(event.subdomain, None)
        case _:
            raise Unfolded(event)
