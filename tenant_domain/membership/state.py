"""State of a membership."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from tenant_domain.decision import Event, Unfolded
from tenant_domain.membership.events import InvitationRevoked, MemberInvited, MemberJoined, MemberRemoved


class Membership(msgspec.Struct, frozen=True):
    """One user's, or one invitation's, standing in a tenant."""

    status: Literal["invited", "active", "removed", "revoked"]
    role: str
    user_id: str | None = None
    invitation_id: str | None = None


def evolve(state: Membership | None, event: Event) -> Membership | None:
    """Return the state after `event`. Raises Unfolded for one that is of no aggregate of this kind."""
    match event:
        case MemberJoined():
            return Membership("active", event.role, user_id=event.user_id)
        case MemberInvited():
            return Membership("invited", event.role, invitation_id=event.invitation_id)
        case MemberRemoved():
            return state and replace(state, status="removed")
        case InvitationRevoked():
            return state and replace(state, status="revoked")
        case _:
            raise Unfolded(event)
