"""One example of each event of a tenant."""

from __future__ import annotations

from datetime import UTC, datetime

from tenant_domain.authorisation import Authority
from tenant_domain.decision import Event
from tenant_domain.examples import OPERATION
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

_OPERATION = str(OPERATION)

EVENTS: tuple[Event, ...] = (
    ProvisioningStarted(
        operation_id=_OPERATION,
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
        operation_id=_OPERATION,
        quotas={"users": 250, "storage": 107374182400, "api_calls": 1000000, "compute": 360000},
        flags={"sso": True, "audit_export": False, "custom_branding": True},
        branding={"display_name": "Acme Analytics", "primary_color": "#1f6feb", "theme": "light"},
    ),
    Activated(operation_id=_OPERATION),
    ProvisioningFailed(operation_id=_OPERATION, reason="create_schema: the database refused"),
    ProfileUpdated(
        tenant_name="Acme Insight",
        subdomain="acme-insight",
        metadata={"crm_id": "A-4712"},
        settings={"locale": None, "theme": "dark"},
        settings_after={"mfa": {"required": True}, "theme": "dark"},
    ),
    Suspended(operation_id=_OPERATION, reason="Invoice 2026-10 is unpaid."),
    SuspensionRaised(reason="The account sends spam.", by=Authority.OPERATOR),
    AccessClosed(operation_id=_OPERATION),
    Resumed(operation_id=_OPERATION),
    AccessOpened(operation_id=_OPERATION),
    StatusReverted(operation_id=_OPERATION, status="active"),
    PlanChangeStarted(
        operation_id=_OPERATION,
        from_plan="professional",
        plan="enterprise",
        effective="period_end",
        effective_at=datetime(2026, 12, 1, tzinfo=UTC),
    ),
    PlanChangeBegun(operation_id=_OPERATION),
    PlanChanged(
        operation_id=_OPERATION,
        from_plan="professional",
        plan="enterprise",
        quotas={"users": 10000, "storage": 1099511627776, "api_calls": 50000000, "compute": 36000000},
        flags={"sso": True, "audit_export": True, "custom_branding": True},
    ),
    PlanChangeRolledBack(
        operation_id=_OPERATION,
        from_plan="professional",
        plan="enterprise",
        reason="The step 'verify' failed: a limit differs.",
    ),
    TerminationScheduled(
        operation_id=_OPERATION,
        reason="The contract has ended.",
        purge_at=datetime(2026, 12, 23, 12, 0, tzinfo=UTC),
    ),
    TerminationCancelled(operation_id=_OPERATION, status="active"),
    PurgeStarted(operation_id=_OPERATION),
    Purged(
        operation_id=_OPERATION,
        certificate_id="01938f5e-7c00-7000-8000-0000000000d1",
        certificate_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
    ProvisioningRestarted(operation_id=_OPERATION),
    OperationRepeated(operation_id=_OPERATION),
    OperationReleased(operation_id=_OPERATION),
    LegalHoldPlaced(reason="Case 2026/117 is open."),
    LegalHoldReleased(),
)
