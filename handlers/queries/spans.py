"""Spans of queries, for every door that they come through."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from uuid import UUID

from opentelemetry.trace import SpanKind

from handlers import tracing
from handlers.wire.subjects import FLEET
from projections.registry import QUESTIONS


def asking(tenant: str, query: str, parent: str | None) -> AbstractContextManager[object]:
    """Make a span of answering a query that came with the `traceparent` `parent`.

    What is no query of ours has none, and what is no id is not told: a caller can write anything there.
    """
    if not tracing.on or (tenant == FLEET, query) not in QUESTIONS:
        return nullcontext()
    attributes = {"tenants.query": query}
    if _is_id(tenant):
        attributes["tenants.tenant_id"] = tenant
    return tracing.span(f"query {query}", parent, attributes, SpanKind.SERVER)


def _is_id(tenant: str) -> bool:
    try:
        return str(UUID(tenant)) == tenant
    except ValueError:
        return False
