"""Spans of queries, for every door that they come through."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from opentelemetry.trace import SpanKind

from handlers import tracing
from handlers.wire.subjects import FLEET, is_tenant_id
from projections.registry import QUESTIONS


def asking(tenant: str, query: str, parent: str | None) -> AbstractContextManager[object]:
    """Make a span of answering a query that came with the `traceparent` `parent`.

    What is no query of ours has none, and what is no id is not told: a caller can write anything there.
    """
    if not tracing.on or (tenant == FLEET, query) not in QUESTIONS:
        return nullcontext()
    attributes = {"tenants.query": query}
    if is_tenant_id(tenant):
        attributes["tenants.tenant_id"] = tenant
    return tracing.span(f"query {query}", parent, attributes, SpanKind.SERVER)
