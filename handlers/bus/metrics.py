"""The statistics of endpoints for Prometheus: made when they are asked for, so a request costs no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from handlers.bus.endpoints import Endpoint


class EndpointMetrics(Collector):
    """Rates, failures and times of `endpoints`; register it."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        name = "tenants_endpoint_seconds"
        times = SummaryMetricFamily(
            name, "Time from a request on the bus to its answer", labels=("endpoint",)
        )
        failures = CounterMetricFamily(
            "tenants_endpoint_failures", "Requests on the bus that were refused", labels=("endpoint",)
        )
        for endpoint in self._endpoints:
            told = endpoint.stats()
            times.add_metric((endpoint.name,), told["num_requests"], told["processing_time"] / 1e9)
            failures.add_metric((endpoint.name,), told["num_errors"])
        yield times
        yield failures
