"""Spans of the command path: one for each command, from its door to its reply, and one for each batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec.structs import replace
from opentelemetry.trace import SpanKind

from handlers import tracing
from handlers.execution.decode import Request
from handlers.execution.job import Job
from handlers.execution.reply import Reply


def followed(
    request: Request, done: Callable[[Reply], None], door: str
) -> tuple[Request, Callable[[Reply], None]]:
    """Begin the span of a command that came through `door`: its events belong to it, `done` ends it.

    A durable command that is read again before it has an outcome begins another one; the first is lost.
    """
    attributes = {
        "tenants.door": door,
        "tenants.command": request.command,
        "tenants.tenant_id": str(request.tenant_id),
        "tenants.command_id": str(request.command_id),
    }
    span = tracing.begun(f"command {request.command}", request.meta.traceparent, attributes, SpanKind.SERVER)

    def ended(reply: Reply) -> None:
        span.set_attribute("tenants.outcome", reply.problem or "completed")
        if reply.operation_id is not None:
            span.set_attribute("tenants.operation_id", str(reply.operation_id))
        if reply.status >= 500 and reply.problem is not None:
            tracing.failed(span, reply.problem)
        span.end()
        done(reply)

    return replace(request, meta=replace(request.meta, traceparent=tracing.traceparent(span))), ended


def batched(jobs: Sequence[Job]) -> AbstractContextManager[object]:
    """Make a span of deciding and appending these commands, with a link to each of them."""
    if not tracing.on:
        return nullcontext()
    parents = (job.request.meta.traceparent for job in jobs if job.request is not None)
    return tracing.batched("decide and append", parents, {"tenants.commands": len(jobs)})
