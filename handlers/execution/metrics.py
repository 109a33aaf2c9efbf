"""What the command path tells about itself, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from handlers.execution.job import Job
from handlers.execution.reply import Reply

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


class CommandMetrics:
    """Counters of one process; children are kept, because looking them up costs more than counting."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._commands = Counter(
            "tenants_commands",
            "Commands settled, by door and outcome",
            ["door", "outcome"],
            registry=registry,
        )
        self._children: dict[tuple[bool, str | None], Counter] = {}
        self._batch = Histogram(
            "tenants_command_batch_size", "Commands in one transaction", buckets=_SIZES, registry=registry
        )
        self._append = Histogram(
            "tenants_command_append_seconds", "Time of one append", buckets=_SECONDS, registry=registry
        )
        self._dropped = Counter(
            "tenants_command_groups_dropped", "Conflict groups decided again", registry=registry
        )
        self._failed = Counter(
            "tenants_command_failures", "Commands that failed for a technical reason", registry=registry
        )
        self._outages = Counter(
            "tenants_command_outages", "Batches that met a database that was down", registry=registry
        )
        self._forwarded = Counter(
            "tenants_commands_forwarded",
            "Commands sent to the owner of their partition, and by whom they were decided in the end",
            ["decided_by"],
            registry=registry,
        )
        self._by_owner, self._by_us = (self._forwarded.labels(each) for each in ("owner", "sender"))
        self._waiting = Gauge(
            "tenants_commands_waiting", "Answered commands that wait for a batch", registry=registry
        )
        self._partitions = Gauge(
            "tenants_command_partitions", "Partitions of the durable door held here", registry=registry
        )

    def appended(self, commands: int, seconds: float, dropped: int) -> None:
        """Count an append of so many commands, and its conflict groups that have to be decided again."""
        self._append.observe(seconds)
        self._batch.observe(commands)
        if dropped:
            self._dropped.inc(dropped)

    def settled(self, job: Job, reply: Reply) -> None:
        """Count a command that has its outcome."""
        key = (job.origin is not None, reply.problem)
        child = self._children.get(key)
        if child is None:
            door = "durable" if job.origin is not None else "answered"
            child = self._children[key] = self._commands.labels(door, reply.problem or "completed")
        child.inc()

    def refused(self, reply: Reply) -> None:
        """Count an answered command that was refused before it got into a batch."""
        self._commands.labels("answered", reply.problem or "completed").inc()

    def failed(self) -> None:
        """Count a technical failure of one command."""
        self._failed.inc()

    def outage(self) -> None:
        """Count a batch that met a database that was down."""
        self._outages.inc()

    def forwarded(self, *, replied: bool) -> None:
        """Count a command that was sent to its partition's owner: it replied, or it came back to us."""
        (self._by_owner if replied else self._by_us).inc()

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Take the number of waiting commands from `count` whenever somebody asks."""
        self._waiting.set_function(count)

    def holding(self, partitions: int) -> None:
        """Note how many partitions this process holds."""
        self._partitions.set(partitions)
