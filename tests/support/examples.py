"""One canonical example per message: one story of one tenant, told in valid events and commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from tenant_domain.authorisation import Authority
from tenant_domain.decision import Command, Event
from tenant_domain.membership.events import InvitationRevoked, MemberInvited, MemberJoined, MemberRemoved
from tenant_domain.operation.commands import (
    CancelOperation,
    CompensateOperation,
    RerunOperation,
    RetryOperation,
)
from tenant_domain.operation.events import (
    CompensationStarted,
    OperationCancelled,
    OperationParked,
    OperationRetried,
    OperationRolledBack,
    OperationStarted,
    OperationSucceeded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepStarted,
)
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased
from tenant_domain.tenant.commands import (
    Admin,
    CancelTermination,
    PlaceLegalHold,
    Provision,
    ReleaseLegalHold,
    Resume,
    Suspend,
    Terminate,
    UpdateProfile,
    Upgrade,
)
from tenant_domain.tenant.events import (
    AccessClosed,
    AccessOpened,
    Activated,
    AdminContact,
    DefaultsConfigured,
    LegalHoldPlaced,
    LegalHoldReleased,
    OperationReleased,
    OperationRepeated,
    PlanChangeBegun,
    PlanChanged,
    PlanChangeRolledBack,
    PlanChangeStarted,
    ProfileUpdated,
    ProvisioningFailed,
    ProvisioningRestarted,
    ProvisioningStarted,
    Purged,
    PurgeStarted,
    Resumed,
    StatusReverted,
    Suspended,
    SuspensionRaised,
    TerminationCancelled,
    TerminationScheduled,
)

TENANT = UUID("01938f5e-7c00-7000-8000-000000000001")
OPERATION = UUID("01938f5e-7c00-7000-8000-0000000000a1")
INVITATION = UUID("01938f5e-7c00-7000-8000-0000000000b1")
STEPS = ("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate")
BEGUN = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
ENDED = datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC)
AGAIN = datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC)

_operation = str(OPERATION)

_EVENTS: tuple[Event, ...] = (
    ProvisioningStarted(
        operation_id=_operation,
        tenant_name="Acme Analytics",
        subdomain="acme",
        plan="professional",
        region="eu-central",
        admin=AdminContact(email="ada@acme.example", name="Ada Lovelace", user_id="auth0|ada"),
        trial_ends_at=datetime(2026, 12, 23, 9, 0, 0, tzinfo=UTC),
        metadata={"crm_id": "A-4711"},
        settings={"locale": "en-GB", "mfa": {"required": True}},
    ),
    DefaultsConfigured(
        operation_id=_operation,
        quotas={"users": 250, "storage": 107374182400, "api_calls": 1000000, "compute": 360000},
        flags={"sso": True, "audit_export": False, "custom_branding": True},
        branding={"display_name": "Acme Analytics", "primary_color": "#1f6feb", "theme": "light"},
    ),
    Activated(operation_id=_operation),
    ProvisioningFailed(operation_id=_operation, reason="create_schema: the database refused"),
    ProfileUpdated(
        tenant_name="Acme Insight",
        subdomain="acme-insight",
        metadata={"crm_id": "A-4712"},
        settings={"locale": None, "theme": "dark"},
        settings_after={"mfa": {"required": True}, "theme": "dark"},
    ),
    Suspended(operation_id=_operation, reason="Invoice 2026-10 is unpaid."),
    SuspensionRaised(reason="The account sends spam.", by=Authority.OPERATOR),
    AccessClosed(operation_id=_operation),
    Resumed(operation_id=_operation),
    AccessOpened(operation_id=_operation),
    StatusReverted(operation_id=_operation, status="active"),
    PlanChangeStarted(
        operation_id=_operation,
        from_plan="professional",
        plan="enterprise",
        effective="period_end",
        effective_at=datetime(2026, 12, 1, tzinfo=UTC),
    ),
    PlanChangeBegun(operation_id=_operation),
    PlanChanged(
        operation_id=_operation,
        from_plan="professional",
        plan="enterprise",
        quotas={"users": 10000, "storage": 1099511627776, "api_calls": 50000000, "compute": 36000000},
        flags={"sso": True, "audit_export": True, "custom_branding": True},
    ),
    PlanChangeRolledBack(
        operation_id=_operation,
        from_plan="professional",
        plan="enterprise",
        reason="The step 'verify' failed: a limit differs.",
    ),
    TerminationScheduled(
        operation_id=_operation,
        reason="The contract has ended.",
        purge_at=datetime(2026, 12, 23, 12, 0, tzinfo=UTC),
    ),
    TerminationCancelled(operation_id=_operation, status="active"),
    PurgeStarted(operation_id=_operation),
    Purged(
        operation_id=_operation,
        certificate_id="01938f5e-7c00-7000-8000-0000000000d1",
        certificate_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
    ProvisioningRestarted(operation_id=_operation),
    OperationRepeated(operation_id=_operation),
    OperationReleased(operation_id=_operation),
    LegalHoldPlaced(reason="Case 2026/117 is open."),
    LegalHoldReleased(),
    SubdomainClaimed(subdomain="acme", tenant_id=str(TENANT)),
    SubdomainReleased(subdomain="acme", tenant_id=str(TENANT)),
    MemberJoined(user_id="auth0|ada", role="owner", email="ada@acme.example", member_name="Ada Lovelace"),
    MemberInvited(
        invitation_id=str(INVITATION), role="owner", email="ada@acme.example", member_name="Ada Lovelace"
    ),
    MemberRemoved(user_id="auth0|ada"),
    InvitationRevoked(invitation_id=str(INVITATION)),
    OperationStarted(
        operation_id=_operation,
        tenant_id=str(TENANT),
        kind="provisioning",
        steps=STEPS,
        input={},
        started_at=BEGUN,
    ),
    StepScheduled(step="backup_state", due_at=datetime(2026, 12, 1, tzinfo=UTC)),
    StepStarted(step="create_schema", attempt=1, started_at=BEGUN),
    StepCompleted(
        step="create_schema",
        attempt=1,
        started_at=BEGUN,
        finished_at=ENDED,
        output={"schema": "t_01938f5e7c0070008000000000000001"},
    ),
    StepFailed(
        step="notify",
        attempt=1,
        error="the mail server did not answer",
        started_at=BEGUN,
        finished_at=ENDED,
        retry_at=AGAIN,
    ),
    StepCompensated(step="create_schema", attempt=1, finished_at=ENDED),
    CompensationStarted(ending="rolled_back", reason="notify: the mail server did not answer"),
    OperationParked(step="notify", reason="the mail server did not answer in 5 attempts"),
    OperationRetried(),
    OperationSucceeded(finished_at=ENDED),
    OperationRolledBack(reason="notify: the mail server did not answer", finished_at=ENDED),
    OperationCancelled(reason="Cancelled by an operator.", finished_at=ENDED),
)

EVENT_EXAMPLES: Mapping[str, Event] = {event.name: event for event in _EVENTS}
"""By stored name."""

FORMER_EXAMPLES: Mapping[tuple[str, int], Event] = {
    (ProfileUpdated.name, 1): ProfileUpdated(
        tenant_name="Acme Insight",
        subdomain="acme-insight",
        metadata={"crm_id": "A-4712"},
        settings={"locale": None, "theme": "dark"},
    )
}
"""What the samples of former versions come to, where that is not today's example."""

_COMMANDS: tuple[Command, ...] = (
    Provision(
        name="Acme Analytics",
        subdomain="acme",
        plan="professional",
        admin=Admin(email="ada@acme.example", name="Ada Lovelace", user_id="auth0|ada"),
        region="eu-central",
        trial_days=30,
        metadata={"crm_id": "A-4711"},
        settings={"locale": "en-GB", "mfa": {"required": True}},
    ),
    UpdateProfile(
        name="Acme Insight",
        subdomain="acme-insight",
        metadata={"crm_id": "A-4712"},
        settings={"locale": None, "theme": "dark"},
    ),
    Suspend(reason="Invoice 2026-10 is unpaid."),
    Resume(),
    Upgrade(plan="enterprise", effective="period_end"),
    Terminate(confirm_subdomain="acme", reason="The contract has ended.", retain_days=30),
    CancelTermination(),
    PlaceLegalHold(reason="Case 2026/117 is open."),
    ReleaseLegalHold(),
    RetryOperation(operation_id=OPERATION),
    CancelOperation(operation_id=OPERATION),
    CompensateOperation(operation_id=OPERATION),
    RerunOperation(operation_id=OPERATION, from_step="notify"),
)

COMMAND_EXAMPLES: Mapping[str, Command] = {command.name_: command for command in _COMMANDS}
"""By the last token of their subject."""
