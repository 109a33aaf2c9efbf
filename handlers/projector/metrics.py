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

    def wrote(self, written: Sequence[Written]) -> None:
        """Count a batch."""
        for each in written:
            name = each.place.model.name
            self._position.labels(name).set(each.position)
            self._rows.labels(name).inc(len(each.folded.rows))
            self._parked.labels(name).inc(len(each.folded.parked))

    def outrun(self) -> None:
        """Count a batch that came too late."""
        self._outrun.inc()
