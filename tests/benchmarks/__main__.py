"""`make bench`: run the rows that are named, or all, and print one table of ratios."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import shutil
import traceback
from collections.abc import Awaitable, Callable

from rich.console import Console

from handlers import logs
from tests.benchmarks import bulk, drain, event_store, latency, rebuild, sagas, timers
from tests.benchmarks.table import Row, show

ROWS: dict[str, Callable[[int], Awaitable[Row]]] = {
    "drain": drain.drain,
    "event_store": event_store.append,
    "lone_command": latency.lone_command,
    "query": latency.query,
    "sagas": sagas.provisioning,
    "bulk": bulk.publish,
    "rebuild": rebuild.events,
    "workers": drain.scaling,
    "sleeping": timers.sleeping,
    "due_at_once": timers.due_at_once,
}

PEERS = {
    "DBOS": lambda: importlib.util.find_spec("dbos") is not None,
    "Restate": lambda: shutil.which("restate-server") is not None,
    "Temporal": lambda: shutil.which("temporal") is not None,
}


def main() -> None:
    """Run the rows one after another; one that breaks is told of and takes no other with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default 5)")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    logs.configure("error", "console")
    console = Console(width=170)
    rows: list[Row] = []
    for name in options.rows or ROWS:
        console.print(f"[dim]{name} …[/]")
        try:
            rows.append(asyncio.run(_row(name, options.rounds)))
        except Exception:  # noqa: BLE001 - told of, with its traceback; the other rows go on
            console.print(f"{name} broke:\n{traceback.format_exc()}", markup=False)
    show(rows, console)
    for peer, installed in PEERS.items():
        console.print(
            f"{peer}: {'installed, but no row is written for it yet' if installed() else 'not installed'}"
        )


async def _row(name: str, rounds: int) -> Row:
    return await ROWS[name](rounds)


if __name__ == "__main__":
    main()
