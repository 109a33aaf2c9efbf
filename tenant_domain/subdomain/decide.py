"""Decisions about a subdomain."""

from __future__ import annotations

from tenant_domain.decision import NewEvent, Ref
from tenant_domain.refusals import SubdomainTaken
from tenant_domain.subdomain.commands import Claim, Release
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.values import subdomain_stream


def ref(subdomain: str) -> Ref:
    """Return the stream of `subdomain`."""
    return Ref("subdomain", subdomain_stream(subdomain))


def claim(state: SubdomainClaim | None, command: Claim) -> tuple[NewEvent, ...]:
    """Claim a subdomain; claiming what one holds changes nothing.

    Raises SubdomainTaken when another tenant holds it.
    """
    holder = state.holder if state else None
    if holder == command.tenant_id:
        return ()
    if holder is not None:
        raise SubdomainTaken(
            f"The subdomain {command.subdomain!r} is held by another tenant.", subdomain=command.subdomain
        )
    event = SubdomainClaimed(subdomain=command.subdomain, tenant_id=str(command.tenant_id))
    return (NewEvent(ref(command.subdomain), event),)


def release(state: SubdomainClaim | None, command: Release) -> tuple[NewEvent, ...]:
    """Release a subdomain; releasing what one does not hold changes nothing."""
    if state is None or state.holder != command.tenant_id:
        return ()
    event = SubdomainReleased(subdomain=command.subdomain, tenant_id=str(command.tenant_id))
    return (NewEvent(ref(command.subdomain), event),)
