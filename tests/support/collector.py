"""A collector of traces: takes what OTLP exporters send over HTTP, and keeps it in memory."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What came so far; `url` is where it is sent to."""

    def __init__(self, url: str, spans: list[Span]) -> None:
        self.url = url
        self.spans = spans

    def of(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace, and those that are linked to it."""
        wanted = bytes.fromhex(trace_id)
        return [
            span
            for span in self.spans
            if span.trace_id == wanted or any(link.trace_id == wanted for link in span.links)
        ]


def attributes(span: Span) -> dict[str, str | int]:
    """Return what a span says about itself."""
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@contextmanager
def collecting() -> Generator[Collector]:
    """Run a collector."""
    spans: list[Span] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Collector(f"http://127.0.0.1:{server.server_port}/v1/traces", spans)
        finally:
            server.shutdown()
            thread.join()
