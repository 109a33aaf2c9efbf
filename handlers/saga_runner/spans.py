"""Spans of the saga runner: one for each attempt at a step, and one for each transaction of moves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from handlers import tracing
from handlers.saga_runner.run import RunState
from sagas.definition import Run, Undo


def stepping(run: RunState, action: Run | Undo) -> AbstractContextManager[object]:
    """Make a span of doing or undoing a step, in the trace of the command that began the run."""
    if not tracing.on:
        return nullcontext()
    attributes = {
        "tenants.tenant_id": str(run.tenant_id),
        "tenants.operation_id": str(run.operation_id),
        "tenants.saga": run.saga.kind,
        "tenants.step": action.step.name,
    }
    verb = "undo" if isinstance(action, Undo) else "step"
    return tracing.span(f"{verb} {action.step.name}", run.meta.traceparent, attributes)


def committing(runs: Sequence[RunState]) -> AbstractContextManager[object]:
    """Make a span of committing a move of each of these runs, with a link to the command of each."""
    if not tracing.on:
        return nullcontext()
    parents = (run.meta.traceparent for run in runs)
    return tracing.batched("commit saga moves", parents, {"tenants.moves": len(runs)})
