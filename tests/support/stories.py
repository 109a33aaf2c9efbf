"""What a tenant has been through: the canonical examples in the order in which they happen."""

from __future__ import annotations

from tenant_domain.decision import Event
from tenant_domain.examples import BEGUN, OPERATION, TENANT
from tenant_domain.operation.events import OperationStarted
from tests.support.examples import EVENT_EXAMPLES


def told(*names: str) -> tuple[Event, ...]:
    """Return the canonical examples with these stored names."""
    return tuple(EVENT_EXAMPLES[name] for name in names)


def operation_started(kind: str, *steps: str) -> OperationStarted:
    """Return the start of OPERATION as a run of another kind than provisioning."""
    return OperationStarted(
        operation_id=str(OPERATION), tenant_id=str(TENANT), kind=kind, steps=steps, started_at=BEGUN
    )


BEING_MADE = told("tenant.provisioning_started", "subdomain.claimed", "operation.started")
IN_SERVICE = (
    *BEING_MADE,
    *told("tenant.defaults_configured", "tenant.activated", "operation.succeeded"),
)
BEING_SUSPENDED = (
    *IN_SERVICE,
    *told("tenant.suspended"),
    operation_started("suspension", "close_access"),
)
SUSPENDED = (*BEING_SUSPENDED, *told("tenant.access_closed", "operation.succeeded"))
BEING_RESUMED = (*SUSPENDED, *told("tenant.resumed"), operation_started("resumption", "open_access"))
RESUMED = (*BEING_RESUMED, *told("tenant.access_opened", "operation.succeeded"))
CHANGING_PLAN_LATER = (
    *IN_SERVICE,
    *told("tenant.plan_change_started"),
    operation_started("upgrade", "validate_upgrade", "backup_state", "apply_changes", "verify"),
)
BEING_TERMINATED = (
    *IN_SERVICE,
    *told("tenant.termination_scheduled"),
    operation_started("termination", "suspend", "data_preservation", "cleanup", "secure_deletion"),
)
BEING_PURGED = (*BEING_TERMINATED, *told("tenant.purge_started"))
DELETED = (*BEING_PURGED, *told("tenant.purged", "subdomain.released", "operation.succeeded"))
FAILED = (
    *BEING_MADE,
    *told(
        "operation.compensation_started",
        "tenant.provisioning_failed",
        "subdomain.released",
        "operation.rolled_back",
    ),
)
