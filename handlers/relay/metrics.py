"""What the relay tells about itself, as Prometheus metrics."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class RelayMetrics:
    """Counters of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._head = self._last = 0
        self._position = Gauge("tenants_relay_position", "Last event in the stream", registry=registry)
        lag = Gauge("tenants_relay_lag_events", "Committed events that the stream lacks", registry=registry)
        lag.set_function(lambda: max(0, self._head - self._last))
        self.events = Counter("tenants_relay_events", "Events published", registry=registry)
        self.refusals = Counter("tenants_relay_refusals", "Runs refused by the stream", registry=registry)
        self.astray = Gauge("tenants_relay_astray", "1: the stream needs a rebuild", registry=registry)
        self.rebuilds = Counter("tenants_relay_rebuilds", "Streams made anew from the log", registry=registry)
        self.contexts = Counter("tenants_context_entries", "Entries of the live context", registry=registry)
        self.context_position = Gauge(
            "tenants_context_position", "Position that the live context includes", registry=registry
        )
        self.claim_checks = Counter(
            "tenants_relay_claim_checks", "Messages sent without their content", ["outlet"], registry=registry
        )
        self._letters = Counter("tenants_dead_letters", "Letters published", ["reason"], registry=registry)

    def heard(self, head: int) -> None:
        """Note how far the log is, by a hint."""
        self._head = max(self._head, head)

    def reached(self, position: int) -> None:
        """Note how far the stream is."""
        self._last = position
        self._position.set(position)

    def buried(self, reason: str) -> None:
        """Count a dead letter."""
        self._letters.labels(reason).inc()
