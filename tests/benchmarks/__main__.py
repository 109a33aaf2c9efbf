"""`make bench`: run the rows that are named, or all, and print one table of ratios."""

from __future__ import annotations

import argparse
import asyncio
import traceback
from collections.abc import Awaitable, Callable
from functools import partial

from rich.console import Console

from handlers import logs
from tests.benchmarks import (
    bulk,
    drain,
    event_store,
    fleet,
    http,
    latency,
    rebuild,
    sagas,
    suspension,
    timers,
)
from tests.benchmarks.peers.engines import PEERS
from tests.benchmarks.peers.rows import WHAT, against
from tests.benchmarks.table import Row, show

ROWS: dict[str, Callable[[int], Awaitable[Row]]] = {
    "drain": drain.drain,
    "event_store": event_store.append,
    "event_batches": event_store.batches,
    "lone_command": latency.lone_command,
    "cold_command": fleet.cold,
    "sealed_command": fleet.sealed,
    "sealed_cold_command": fleet.sealed_cold,
    "command_all_roles": fleet.all_roles,
    **fleet.TWO_WORKERS,
    "strangers_drain": fleet.strangers_drain,
    "query": latency.query,
    "sagas": sagas.provisioning,
    "bulk": bulk.publish,
    "rebuild": rebuild.events,
    "rebuild_stock": rebuild.beside_stock,
    "visible": latency.visible,
    "workers": drain.scaling,
    "sleeping": timers.sleeping,
    "due_at_once": timers.due_at_once,
    "suspension": suspension.lone,
    "suspension_under_load": suspension.under_load,
    "suspension_crowd": suspension.crowd,
    "http_lookup": http.lookup,
    "http_start": http.start,
    "http_provisioning": http.provisioning,
}

PEER_ROWS = {
    f"{peer.name.lower().replace(' ', '_')}_{variant}": (peer, variant) for peer in PEERS for variant in WHAT
}
"""Rows beside the peers, by name; a peer that is not installed has none."""


def main() -> None:
    """Run the rows one after another; one that breaks is told of and takes no other with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*ROWS, *PEER_ROWS]
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default 5)")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(known):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    logs.configure("error", "console")
    console = Console(width=170)
    rows: list[Row] = []
    missing = {peer.name: said for peer in PEERS if (said := peer.missing())}
    for name in options.rows or known:
        if name in PEER_ROWS and PEER_ROWS[name][0].name in missing:
            continue
        console.print(f"[dim]{name} …[/]")
        try:
            rows.append(asyncio.run(_row(name, options.rounds)))
        except Exception:  # noqa: BLE001 - told of, with its traceback; the other rows go on
            console.print(f"{name} broke:\n{traceback.format_exc()}", markup=False)
    show(rows, console)
    for said in missing.values():
        console.print(said)


async def _row(name: str, rounds: int) -> Row:
    return await (ROWS.get(name) or partial(against, *PEER_ROWS[name]))(rounds)


if __name__ == "__main__":
    main()
