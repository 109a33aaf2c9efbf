"""What the projector tells about itself, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from handlers.projector.tables import Written


class ProjectorMetrics:
    """Counters of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._position = Gauge(
            "tenants_projection_position", "Position of a live read model", ["read_model"], registry=registry
        )
        self._lag = Gauge(
            "tenants_projection_lag_events",
            "Committed events that a live read model lacks",
            ["read_model"],
            registry=registry,
        )
        self._head = 0
        self._positions: dict[str, int] = {}
        self._rows = Counter(
            "tenants_projection_rows", "Rows written by this projector", ["read_model"], registry=registry
        )
        self._parked = Counter(
            "tenants_projection_parked",
            "Streams parked because an event could not be folded",
            ["read_model"],
            registry=registry,
        )
        self._outrun = Counter(
            "tenants_projection_outrun", "Batches that another projector was quicker with", registry=registry
        )

    def heard(self, head: int) -> None:
        """Note how far the log is, by a hint."""
        self._head = max(self._head, head)

    def at(self, name: str, position: int) -> None:
        """Note how far a read model is."""
        self._position.labels(name).set(position)
        if name not in self._positions:
            self._lag.labels(name).set_function(lambda: max(0, self._head - self._positions[name]))
        self._positions[name] = position

    def wrote(self, written: Sequence[Written]) -> None:
        """Count a batch."""
        for each in written:
            name = each.place.model.name
            self.at(name, each.position)
            self._rows.labels(name).inc(len(each.folded.rows))
            self._parked.labels(name).inc(len(each.folded.parked))

    def outrun(self) -> None:
        """Count a batch that came too late."""
        self._outrun.inc()
