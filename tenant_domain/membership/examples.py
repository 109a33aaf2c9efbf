"""One example of each event of a membership."""

from __future__ import annotations

from tenant_domain.decision import Event
from tenant_domain.examples import INVITATION
from tenant_domain.membership.events import (
    InvitationRevoked,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
)

EVENTS: tuple[Event, ...] = (
    MemberJoined(user_id="auth0|ada", role="owner", email="ada@acme.example", member_name="Ada Lovelace"),
    MemberInvited(
        invitation_id=str(INVITATION), role="owner", email="ada@acme.example", member_name="Ada Lovelace"
    ),
    MemberRemoved(user_id="auth0|ada"),
    InvitationRevoked(invitation_id=str(INVITATION)),
)
