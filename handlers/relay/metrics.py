"""What the relay tells about itself, as Prometheus metrics."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class RelayMetrics:
    """Counters of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.position = Gauge("tenants_relay_position", "Last event in the stream", registry=registry)
        self.events = Counter("tenants_relay_events", "Events published", registry=registry)
        self.refusals = Counter("tenants_relay_refusals", "Runs refused by the stream", registry=registry)
        self.astray = Gauge("tenants_relay_astray", "1: the stream needs a rebuild", registry=registry)
        self._letters = Counter("tenants_dead_letters", "Letters published", ["reason"], registry=registry)

    def buried(self, reason: str) -> None:
        """Count a dead letter."""
        self._letters.labels(reason).inc()
