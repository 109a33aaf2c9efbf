"""One example of each event of an operation."""

from __future__ import annotations

from datetime import UTC, datetime

from tenant_domain.decision import Event
from tenant_domain.examples import AGAIN, BEGUN, ENDED, OPERATION, TENANT
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

_OPERATION = str(OPERATION)

EVENTS: tuple[Event, ...] = (
    OperationStarted(
        operation_id=_OPERATION,
        tenant_id=str(TENANT),
        kind="provisioning",
        steps=("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate"),
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
