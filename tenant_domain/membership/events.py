"""Events of a membership."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tenant_domain.decision import Event, Upcaster
from tenant_domain.values import Personal


class MemberJoined(Event, frozen=True, kw_only=True):
    """The user belongs to the tenant from now on."""

    name: ClassVar[str] = "member.joined"
    user_id: str
    role: str
    email: Personal | None = None
    member_name: Personal | None = None


class MemberInvited(Event, frozen=True, kw_only=True):
    """Somebody was invited to join the tenant."""

    name: ClassVar[str] = "member.invited"
    invitation_id: str
    role: str
    email: Personal
    member_name: Personal | None = None


class MemberRemoved(Event, frozen=True, kw_only=True):
    """The user does not belong to the tenant any more."""

    name: ClassVar[str] = "member.removed"
    user_id: str


class InvitationRevoked(Event, frozen=True, kw_only=True):
    """The invitation does not hold any more."""

    name: ClassVar[str] = "member.invitation_revoked"
    invitation_id: str


EVENTS = (MemberJoined, MemberInvited, MemberRemoved, InvitationRevoked)
UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
