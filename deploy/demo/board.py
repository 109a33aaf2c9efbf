"""The board: what the events say about every tenant so far, and how it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

STEPS = ("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate")

_STATUS_AFTER = {
    "provisioning_started": "provisioning",
    "activated": "active",
    "provisioning_failed": "failed",
    "suspended": "suspended",
    "resumed": "active",
    "termination_scheduled": "pending_deletion",
    "purge_started": "purging",
    "purged": "deleted",
}
"""The status of a tenant after a fact about it."""

_STEP_AFTER = {"step_started": "running", "step_completed": "completed", "step_compensated": "compensated"}

_MARKS = {
    "pending": Text("·", "dim"),
    "running": Text("…", "yellow"),
    "completed": Text("✓", "green"),
    "failed": Text("✗", "bold red"),
    "compensated": Text("↩", "magenta"),
}

_STYLES = {"active": "green", "provisioning": "yellow", "failed": "red", "suspended": "magenta"}


@dataclass
class Line:
    """One tenant on the board."""

    name: str = ""
    plan: str = ""
    region: str = ""
    status: str = ""
    steps: dict[str, str] = field(default_factory=dict[str, str])
    touched: int = 0


@dataclass
class Board:
    """All tenants, by what TENANT_EVENTS said about them."""

    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    events: int = 0
    position: int = 0
    journal: list[tuple[str, str, dict[str, Any]]] = field(
        default_factory=list[tuple[str, str, dict[str, Any]]]
    )

    def take(self, tenant_id: str, name: str, data: dict[str, Any], position: int) -> None:
        """Note one event."""
        self.events += 1
        self.position = position
        self.journal.append((tenant_id, name, data))
        line = self.lines.setdefault(tenant_id, Line())
        line.touched = position
        entity, fact = name.split(".")
        if entity == "tenant":
            _tenant(line, fact, data)
        elif entity == "operation":
            _step(line, fact, data)

    def statuses(self) -> Counter[str]:
        """Return how many tenants are in each status."""
        return Counter(line.status for line in self.lines.values())

    def seen(self, tenant_id: str, name: str) -> int:
        """Return how many events called `name` the tenant had."""
        return sum(1 for tenant, fact, _ in self.journal if (tenant, fact) == (tenant_id, name))

    def plans(self, tenant_id: str) -> list[str]:
        """Return the plans that the tenant has moved to."""
        moved = (tenant_id, "tenant.plan_changed")
        return [data["plan"] for tenant, fact, data in self.journal if (tenant, fact) == moved]


def _tenant(line: Line, fact: str, data: dict[str, Any]) -> None:
    line.name = data.get("name", line.name)
    if fact in ("provisioning_started", "plan_changed"):
        line.plan = data["plan"]
    line.region = data.get("region", line.region)
    line.status = _STATUS_AFTER.get(fact, line.status)


def _step(line: Line, fact: str, data: dict[str, Any]) -> None:
    if fact == "step_failed":
        line.steps[data["step"]] = "failed" if data.get("retry_at") is None else "running"
    elif fact in _STEP_AFTER and data["step"] in STEPS:
        line.steps[data["step"]] = _STEP_AFTER[fact]


def latest(board: Board, rows: int) -> list[Line]:
    """Return the `rows` tenants that moved last."""
    return sorted(board.lines.values(), key=lambda line: line.touched)[-rows:]


def telling(board: Board, rows: int) -> list[Line]:
    """Return `rows` tenants that moved last, but before others those that are not simply active."""
    ordered = sorted(board.lines.values(), key=lambda line: (line.status != "active", line.touched))
    return sorted(ordered[-rows:], key=lambda line: line.touched)


def picture(board: Board, rate: str, lines: Sequence[Line]) -> RenderableType:
    """Return the board as a table of these tenants, and one line of counts over all."""
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    for title in ("tenant", "plan", "region", "status"):
        table.add_column(title, no_wrap=True, overflow="ellipsis", max_width=28 if title == "tenant" else 14)
    for step in STEPS:
        table.add_column(step.split("_")[-1], justify="center")
    for line in lines:
        marks = (_MARKS[line.steps.get(step, "pending")] for step in STEPS)
        status = Text(line.status, _STYLES.get(line.status, ""))
        table.add_row(line.name, line.plan, line.region, status, *marks)
    counts = " · ".join(f"{count} {status}" for status, count in sorted(board.statuses().items()) if status)
    return Group(
        table, Text(f"{len(board.lines)} tenants: {counts} · {board.events} events · {rate}", "bold")
    )
