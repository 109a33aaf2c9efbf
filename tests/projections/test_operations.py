"""The read model of operations: what the journal of a run looks like as an answer."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from projections import operations
from projections.read_model import Standing
from tenant_domain.decision import Event
from tenant_domain.operation import events as op
from tests.support.histories import later, started

TENANT = UUID("0190c1f2-7a3b-7c4d-8e5f-0a1b2c3d4e5f")
OPERATION = UUID("0190c1f2-7a3b-7c4d-8e5f-0a1b2c3d4e60")


class Answer(msgspec.Struct):
    next: operations.NextView | None


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
    times = {"due_at": None, "retry_at": None}
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
                **times,
            },
            {
                "name": "create_schema",
                "status": "failed",
                "attempts": 2,
                "started_at": "2026-11-23T12:01:00Z",
                "finished_at": "2026-11-23T12:02:00Z",
                "error": "no room",
                **times,
            },
            {"name": "activate", **pending, **times},
        ],
        "started_at": "2026-11-23T12:00:00Z",
        "finished_at": None,
        "reason": "create_schema failed",
        "rerun_of": None,
        "next": {"action": "undo", "step": "create_schema", "not_before": None},
    }


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), ("run", "validate", None)),
        ((op.StepScheduled(step="validate", due_at=later(9)),), ("run", "validate", later(9))),
        (
            (
                op.StepFailed(
                    step="validate",
                    attempt=1,
                    error="no",
                    started_at=later(0),
                    finished_at=later(1),
                    retry_at=later(5),
                ),
            ),
            ("run", "validate", later(5)),
        ),
        ((op.OperationParked(step="validate", reason="no"),), ("wait_for_operator", "validate", None)),
        ((op.OperationParked(step="", reason="held"),), ("wait_for_operator", None, None)),
        ((op.CompensationStarted(ending="cancelled", reason="no"),), ("undo", None, None)),
        ((op.OperationSucceeded(finished_at=later(1)),), None),
    ],
)
def test_the_answer_says_what_comes_next(
    events: tuple[Event, ...], expected: tuple[str, str | None, datetime | None] | None
) -> None:
    answer = msgspec.json.decode(operations.body(stood(*events)), type=Answer)
    assert (answer.next and (answer.next.action, answer.next.step, answer.next.not_before)) == expected


def test_a_row_leads_back_to_where_the_fold_stood() -> None:
    standing = stood(op.StepStarted(step="validate", attempt=1, started_at=later(0)))
    assert operations.MODEL.standing(operations.MODEL.row(standing)[:8]) == standing
