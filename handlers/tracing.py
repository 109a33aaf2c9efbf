"""Traces: OpenTelemetry spans from command to read model, exported over OTLP where a setting says so.

A command's span goes on in the `traceparent` of its events, and so in the steps of the saga that they start.
What is done for many at once (an append, a publish, a projection) is one span with a link to each of them;
where all of them belong to one trace, it belongs to that one, too. Attributes are ids, names of our own and
counts: never what a caller wrote, and never the text of an error, which may name a person.

Without an exporter `on` is False: who makes spans asks that first, so that they cost nothing then.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, NoOpTracer, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace import Tracer as _Tracer

Attributes: TypeAlias = Mapping[str, str | int]

on = False
"""Whether spans are made in this process."""

_tracer: _Tracer = NoOpTracer()


def configure(endpoint: str | None, environment: str, roles: tuple[str, ...]) -> TracerProvider | None:
    """Export this process's spans to `endpoint` (OTLP over HTTP); with None they cost nothing.

    Returns the provider, to be shut down at the end.
    """
    if endpoint is None:
        return None
    attributes = {
        "service.name": "tenant-service",
        "service.instance.roles": ",".join(roles),
        "deployment.environment.name": environment,
    }
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    use(provider)
    return provider


def use(provider: TracerProvider | None) -> None:
    """Make this process's spans with `provider`; with None make none."""
    global on, _tracer
    on = provider is not None
    _tracer = NoOpTracer() if provider is None else provider.get_tracer("tenant-service")


def begun(name: str, parent: str | None, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL) -> Span:
    """Begin a span under a `traceparent`, or as the first of its trace; whoever begins it ends it."""
    return _tracer.start_span(name, context=_under(_context_of(parent)), kind=kind, attributes=attributes)


@contextmanager
def span(
    name: str, parent: str | None, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
) -> Generator[Span]:
    """Make a span of a block, which lines of the log in it then name. An error is told by its type only."""
    with _current(begun(name, parent, attributes, kind)) as present:
        yield present


def batch(
    name: str, parents: Iterable[str | None], attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
) -> Span:
    """Begin the span of what is done for all who have these `traceparent`s; whoever begins it ends it."""
    contexts = [known for parent in set(parents) if (known := _context_of(parent)) is not None]
    one = contexts[0] if len({context.trace_id for context in contexts}) == 1 else None
    links = [Link(context) for context in contexts]
    return _tracer.start_span(name, context=_under(one), kind=kind, attributes=attributes, links=links)


@contextmanager
def batched(name: str, parents: Iterable[str | None], attributes: Attributes) -> Generator[Span]:
    """Make a span as `batch` of a block; `span` has the rest."""
    with _current(batch(name, parents, attributes)) as present:
        yield present


def traceparent(span: Span) -> str:
    """Return the `traceparent` header (W3C Trace Context) of a span."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def present() -> Span:
    """Return the span that the running block is in; one that nobody sees where it is in none."""
    return trace.get_current_span()


def failed(span: Span, problem: str) -> None:
    """Say that what a span is about did not succeed, and the name of the reason."""
    span.set_status(trace.StatusCode.ERROR, problem)


@contextmanager
def _current(present: Span) -> Generator[Span]:
    try:
        with trace.use_span(present, record_exception=False, set_status_on_exception=False):
            yield present
    except Exception as error:
        failed(present, type(error).__name__)
        raise
    finally:
        present.end()


def _context_of(traceparent: str | None) -> SpanContext | None:
    """Return what a `traceparent` names; None for none, or one that is broken."""
    try:
        _, trace_id, span_id, flags = (traceparent or "").split("-")[:4]
        context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
    except ValueError:
        return None
    return context if context.is_valid else None


def _under(parent: SpanContext | None) -> Context:
    """Return a context with this parent, or none: never what happens to be around."""
    return Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context())
