"""Decisions about a tenant, by what is decided.

    rules          what several of them ask of a tenant, and how one begins an operation
    provisioning   it is being made
    profile        what it is called and carries
    access         taken out of service, put back
    plan_change    moved to another plan
    termination    its end, and the legal hold that forbids it
    operations     an operator's say about a run of one of its operations
    rerun          a run that has ended, once more

A function named as a command takes that command; one named as a fact returns it, for the saga whose step has
had its effect. `…_streams` yields what a command reads besides the tenant.
"""

from __future__ import annotations

from tenant_domain.tenant.decide.access import (
    RESUMPTION,
    SUSPENSION,
    access_closed,
    access_opened,
    resume,
    status_reverted,
    suspend,
)
from tenant_domain.tenant.decide.operations import (
    cancel_operation,
    compensate_operation,
    retry_operation,
    run_streams,
)
from tenant_domain.tenant.decide.plan_change import (
    UPGRADE,
    is_changing_plan,
    period_end,
    plan_change_begun,
    plan_change_rolled_back,
    plan_changed,
    upgrade,
)
from tenant_domain.tenant.decide.profile import update_profile, update_profile_streams
from tenant_domain.tenant.decide.provisioning import (
    PROVISIONING,
    activated,
    defaults_of,
    provision,
    provision_streams,
    provisioning_failed,
)
from tenant_domain.tenant.decide.rerun import rerun_operation, rerun_streams
from tenant_domain.tenant.decide.rules import check_offer, check_plan, operation_released, ref, require_free
from tenant_domain.tenant.decide.termination import (
    HELD,
    TERMINATION,
    cancel_termination,
    held_run_streams,
    place_legal_hold,
    purge_started,
    purged,
    release_legal_hold,
    terminate,
    termination_cancelled,
)

__all__ = [
    "HELD",
    "PROVISIONING",
    "RESUMPTION",
    "SUSPENSION",
    "TERMINATION",
    "UPGRADE",
    "access_closed",
    "access_opened",
    "activated",
    "cancel_operation",
    "cancel_termination",
    "check_offer",
    "check_plan",
    "compensate_operation",
    "defaults_of",
    "held_run_streams",
    "is_changing_plan",
    "operation_released",
    "period_end",
    "place_legal_hold",
    "plan_change_begun",
    "plan_change_rolled_back",
    "plan_changed",
    "provision",
    "provision_streams",
    "provisioning_failed",
    "purge_started",
    "purged",
    "ref",
    "release_legal_hold",
    "require_free",
    "rerun_operation",
    "rerun_streams",
    "resume",
    "retry_operation",
    "run_streams",
    "status_reverted",
    "suspend",
    "terminate",
    "termination_cancelled",
    "update_profile",
    "update_profile_streams",
    "upgrade",
]
