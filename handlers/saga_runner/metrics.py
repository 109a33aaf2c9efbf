"""Figures about runs, from what was committed."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from handlers.saga_runner.news import News
from tenant_domain.operation.events import (
    OperationCancelled,
    OperationParked,
    OperationRolledBack,
    OperationSucceeded,
    StepCompensated,
    StepCompleted,
    StepFailed,
)

_OUTCOMES = {StepCompleted: "completed", StepFailed: "failed", StepCompensated: "compensated"}
_ENDINGS = (OperationSucceeded, OperationRolledBack, OperationCancelled, OperationParked)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of steps and ends of runs, times of steps, and how many runs are at work here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._steps = Counter(
            "tenants_saga_steps",
            "Attempts at steps, by outcome",
            ("kind", "step", "outcome"),
            registry=registry,
        )
        self._ends = Counter(
            "tenants_operations",
            "Runs that ended, or were parked, by ending",
            ("kind", "ending"),
            registry=registry,
        )
        self._seconds = Histogram(
            "tenants_saga_step_seconds",
            "Time of a completed step",
            ("kind", "step"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.running = Gauge("tenants_operations_running", "Runs at work in this process", registry=registry)

    def count(self, news: News) -> None:
        """Count what was committed of one run."""
        for _, event in news.events:
            match event:
                case StepCompleted() | StepFailed() | StepCompensated():
                    self._steps.labels(news.kind, event.step, _OUTCOMES[type(event)]).inc()
                    if isinstance(event, StepCompleted):
                        took = (event.finished_at - event.started_at).total_seconds()
                        self._seconds.labels(news.kind, event.step).observe(took)
                case _ if isinstance(event, _ENDINGS):
                    self._ends.labels(news.kind, event.name.rpartition(".")[2]).inc()
                case _:
                    pass
