"""Traces: OpenTelemetry spans from command to read model, exported over OTLP where a setting says so."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


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
    trace.set_tracer_provider(provider)
    return provider


def parent(traceparent: str | None) -> Context | None:
    """Return the context that a `traceparent` header names (W3C Trace Context), or None."""
    return _propagator.extract({"traceparent": traceparent}) if traceparent else None


def traceparent(context: Context | None = None) -> str | None:
    """Return the `traceparent` header of the present span, or of `context`; None when nobody traces."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return carrier.get("traceparent")
