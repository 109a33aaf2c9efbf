"""A worker is killed in the middle of many sagas, and started again at once.

Run as a program it prints one table: steps that were done twice, and how long it took until all were done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import psycopg
from rich.console import Console
from rich.table import Table

from deploy.embedded import Endpoints
from handlers import logs
from sagas.provisioning import PROVISIONING
from tests.benchmarks.peers.engines import PEERS, Peer, Restart
from tests.benchmarks.peers.plays import Ours, ask, ours, theirs
from tests.benchmarks.peers.programs import Program
from tests.benchmarks.peers.six_steps import PAUSE
from tests.benchmarks.stage import servers, until

SAGAS = 200
STEPS = SAGAS * len(PROVISIONING.steps)
ASKING = 20
"""Askers at once: all sagas are asked for before the kill."""

_DONE = "SELECT count(*), count(DISTINCT (saga, step)) FROM peer_effects"


class Side(NamedTuple):
    """An engine at work: `submit` starts all sagas, `worker` is killed, `restart` starts it again."""

    submit: Callable[[], Awaitable[object]]
    worker: Program
    restart: Restart


class Crash(NamedTuple):
    """Steps that were done twice, and seconds from the kill until every saga had all its steps."""

    twice: int
    seconds: float


async def crash(peer: Peer | None) -> Crash:
    """Kill the worker of a peer, or ours, when half of the steps are done."""
    async with servers() as stack:
        url = stack.endpoints.postgres_url
        async with (
            _side(peer, stack.endpoints) as side,
            await psycopg.AsyncConnection.connect(url, autocommit=True) as database,
        ):

            async def done() -> tuple[int, int]:
                found = await (await database.execute(_DONE)).fetchone()
                assert found is not None
                return found

            async def half() -> bool:
                return (await done())[0] >= STEPS / 2

            async def everything() -> bool:
                return (await done())[1] == STEPS

            await side.submit()
            await until(half)
            began = time.perf_counter()
            await side.worker.kill()
            await side.restart()
            await until(everything)
            times, steps = await done()
            return Crash(times - steps, time.perf_counter() - began)


@asynccontextmanager
async def _side(peer: Peer | None, endpoints: Endpoints) -> AsyncGenerator[Side]:
    if peer is None:
        async with ours(endpoints, "pause") as mine:
            yield Side(lambda: _asked(mine), mine.programs["worker"], mine.restart)
    else:
        async with theirs(peer, endpoints, PAUSE) as other:
            wish = {"submit": SAGAS}
            yield Side(lambda: other.client.ask(wish), other.programs[peer.worker], other.restart)


async def _asked(mine: Ours) -> None:
    async def some() -> None:
        for _ in range(SAGAS // ASKING):
            await ask(mine.client)

    await asyncio.gather(*(some() for _ in range(ASKING)))


def main() -> None:
    """Kill ours and those that are installed, and print the table."""
    logs.configure("error", "console")
    console = Console(width=110)
    table = Table(
        "engine", "steps done twice", "all done after", title=f"kill -9 in the middle of {SAGAS} sagas"
    )
    for peer in (None, *PEERS):
        if peer is not None and (missing := peer.missing()):
            console.print(missing)
            continue
        name = peer.name if peer else "ours"
        console.print(f"[dim]{name} …[/]")
        found = asyncio.run(crash(peer))
        table.add_row(name, str(found.twice), f"{found.seconds:.1f} s")
    console.print(table)


if __name__ == "__main__":
    main()
