"""The read model of operations: what the journal of a run looks like as an answer."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from projections import operations
from projections.read_model import Standing
from tenant_domain.decision import Event
from tenant_domain.operation import events as op
from tests.support.histories import later, started

TENANT = UUID("0190c1f2-7a3b-7c4d-8e5f-0a1b2c3d4e5f")
OPERATION = UUID("0190c1f2-7a3b-7c4d-8e5f-0a1b2c3d4e60")


def stood(*events: Event) -> Standing:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    standing = operations.MODEL.begin(OPERATION, TENANT, 7, at)
    for version, event in enumerate((started(OPERATION, TENANT), *events), start=1):
        operations.MODEL.advance(standing, version, at, event)
    return standing


def test_a_parked_run_says_what_it_is_parked_for() -> None:
    undone = op.CompensationStarted(ending="rolled_back", reason="create_schema failed")
    parked = op.OperationParked(step="validate", reason="the schema is in use")
    assert msgspec.json.decode(operations.body(stood(undone, parked)))["reason"] == "the schema is in use"
    gone_on = stood(undone, parked, op.OperationRetried())
    assert msgspec.json.decode(operations.body(gone_on))["reason"] == "create_schema failed"


def test_the_answer_has_the_contracts_fields() -> None:
    standing = stood(
        op.StepCompleted(step="validate", attempt=1, started_at=later(0), finished_at=later(1)),
        op.StepFailed(
            step="create_schema", attempt=2, error="no room", started_at=later(1), finished_at=later(2)
        ),
        op.CompensationStarted(ending="rolled_back", reason="create_schema failed"),
    )
    pending = {"status": "pending", "attempts": 0, "started_at": None, "finished_at": None, "error": None}
    assert msgspec.json.decode(operations.body(standing)) == {
        "operation_id": str(OPERATION),
        "tenant_id": str(TENANT),
        "kind": "provisioning",
        "status": "compensating",
        "steps": [
            {
                "name": "validate",
                "status": "completed",
                "attempts": 1,
                "started_at": "2026-11-23T12:00:00Z",
                "finished_at": "2026-11-23T12:01:00Z",
                "error": None,
            },
            {
                "name": "create_schema",
                "status": "failed",
                "attempts": 2,
                "started_at": "2026-11-23T12:01:00Z",
                "finished_at": "2026-11-23T12:02:00Z",
                "error": "no room",
            },
            {"name": "activate", **pending},
        ],
        "started_at": "2026-11-23T12:00:00Z",
        "finished_at": None,
        "reason": "create_schema failed",
    }


def test_a_row_leads_back_to_where_the_fold_stood() -> None:
    standing = stood(op.StepStarted(step="validate", attempt=1, started_at=later(0)))
    assert operations.MODEL.standing(operations.MODEL.row(standing)[:8]) == standing
