"""Rounds and the table: the median of each side, and the ratio, with what others took of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Sample:
    """One round of one side: its figure, CPU seconds an item where it is known, and the foreign share."""

    figure: float
    cpu: float | None = None
    foreign: float = 0.0


Side = Callable[[], Awaitable[Sample]]


@dataclass
class Row:
    """One comparison. `goal` reads as in GOALS, such as "≥ 0.64"; the ratio is ours / reference."""

    what: str
    unit: str
    goal: str
    reference: str
    ours: list[Sample] = field(default_factory=list[Sample])
    theirs: list[Sample] = field(default_factory=list[Sample])

    @property
    def ratio(self) -> float:
        """The median of the ratios, round by round."""
        return statistics.median(a.figure / b.figure for a, b in zip(self.ours, self.theirs, strict=True))


async def compare(row: Row, ours: Side, theirs: Side, rounds: int = 5) -> Row:
    """Run both sides in turn, `rounds` times after one that is not counted."""
    for number in range(rounds + 1):
        for side, samples in ((theirs, row.theirs), (ours, row.ours)):
            sample = await side()
            if number:
                samples.append(sample)
    return row


def _median(samples: list[Sample], pick: Callable[[Sample], float | None]) -> float | None:
    known = [value for value in map(pick, samples) if value is not None]
    return statistics.median(known) if known else None


def show(rows: list[Row], console: Console) -> None:
    """Print the table of ratios."""
    table = Table("what", "ours", "reference", "ratio", "goal", "CPU µs ours / ref.", "foreign CPU")
    for row in rows:
        ours, theirs = (_median(side, lambda sample: sample.figure) or 0.0 for side in (row.ours, row.theirs))
        cpu = [_median(side, lambda sample: sample.cpu) for side in (row.ours, row.theirs)]
        costs = " / ".join("–" if cost is None else f"{cost * 1e6:,.0f}" for cost in cpu)
        foreign = max(sample.foreign for sample in (*row.ours, *row.theirs))
        table.add_row(
            row.what,
            f"{ours:,.4g} {row.unit}",
            f"{theirs:,.4g} ({row.reference})",
            f"{row.ratio:.2f}",
            row.goal,
            costs,
            f"≤ {foreign:.0%}",
        )
    console.print(table)
