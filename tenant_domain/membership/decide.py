"""Decisions about a membership."""

from __future__ import annotations

from uuid import UUID

from tenant_domain.decision import NewEvent, Ref
from tenant_domain.membership.commands import EstablishOwner
from tenant_domain.membership.events import InvitationRevoked, MemberInvited, MemberJoined, MemberRemoved
from tenant_domain.membership.state import Membership
from tenant_domain.values import invitation_id_of, member_stream


def owner_ref(tenant_id: UUID, operation_id: UUID, user_id: str | None) -> Ref:
    """Return the stream of the tenant's first admin: of the user, or of the invitation."""
    stream = member_stream(tenant_id, user_id) if user_id else invitation_id_of(operation_id)
    return Ref("member", stream)


def establish_owner(state: Membership | None, command: EstablishOwner) -> tuple[NewEvent, ...]:
    """Make the first admin the owner; done before, it changes nothing."""
    if state is not None and state.status in ("active", "invited"):
        return ()
    ref = owner_ref(command.tenant_id, command.operation_id, command.user_id)
    if command.user_id:
        event = MemberJoined(
            user_id=command.user_id, role="owner", email=command.email, member_name=command.name
        )
        return (NewEvent(ref, event),)
    invited = MemberInvited(
        invitation_id=str(ref.stream), role="owner", email=command.email, member_name=command.name
    )
    return (NewEvent(ref, invited),)


def withdraw_owner(state: Membership | None, ref: Ref) -> tuple[NewEvent, ...]:
    """Undo `establish_owner`; where there is nothing to undo, nothing changes."""
    match state:
        case Membership(status="active", user_id=str(user_id)):
            return (NewEvent(ref, MemberRemoved(user_id=user_id)),)
        case Membership(status="invited", invitation_id=str(invitation_id)):
            return (NewEvent(ref, InvitationRevoked(invitation_id=invitation_id)),)
        case _:
            return ()
