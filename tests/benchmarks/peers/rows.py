"""The same sagas on our machinery and on a peer's, both on the same PostgreSQL, in turn."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

from handlers.client import TenantClient
from tenant_domain.refusals import TenantNotFound
from tests.benchmarks.machine import measured
from tests.benchmarks.peers.engines import Peer
from tests.benchmarks.peers.plays import Ours, Theirs, ours, provision, theirs, turn_back
from tests.benchmarks.stage import provisioned, servers, until
from tests.benchmarks.table import Row, Sample, compare

AT_ONCE = 16
SAGAS = 320
LONE = 60

WHAT = {
    "steps": f"six recorded steps, {AT_ONCE} at once",
    "schema": f"the same with a schema, {AT_ONCE} at once",
    "lone": "six recorded steps, one saga at a time, p50",
    "upgrade": f"four recorded steps, two undone, {AT_ONCE} at once",
}


async def against(peer: Peer, variant: str, rounds: int) -> Row:
    """Compare sagas a second, or how long a lone one takes from end to end (`lone`)."""
    row = Row(WHAT[variant], "ms" if variant == "lone" else "/s", peer.goals[variant], peer.name)
    schema = ("schema",) if variant == "schema" else ()
    async with (
        servers() as stack,
        ours(stack.endpoints, *schema) as mine,
        theirs(peer, stack.endpoints) as other,
    ):

        async def our_side() -> Sample:
            match variant:
                case "lone":
                    return await _lone(mine)
                case "upgrade":
                    return await _upgrades(mine)
                case _:
                    return await _many(mine, [partial(provision, mine.client)] * SAGAS)

        async def their_side() -> Sample:
            return await _asked(other, peer, variant)

        return await compare(row, our_side, their_side, rounds)


async def _many(mine: Ours, sagas: list[Callable[[], Awaitable[None]]]) -> Sample:
    left = iter(sagas)

    async def lane() -> None:
        for saga in left:
            await saga()

    with measured(mine.pids, client=True) as usage:
        await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    return Sample(len(sagas) / usage.wall, usage.cpu / len(sagas), usage.foreign)


async def _upgrades(mine: Ours) -> Sample:
    tenants = await provisioned(mine.running.endpoints.postgres_url, SAGAS)

    async def known() -> bool:
        try:
            return (await mine.client.tenant(tenants[-1])).status == "active"
        except TenantNotFound:
            return False

    await until(known)
    return await _many(mine, [partial(turn_back, mine.client, tenant) for tenant in tenants])


async def _lone(mine: Ours) -> Sample:
    async def timed(client: TenantClient) -> float:
        began = time.perf_counter()
        await provision(client)
        return time.perf_counter() - began

    with measured(mine.pids, client=True) as usage:
        latencies = [await timed(mine.client) for _ in range(LONE)]
    return Sample(statistics.median(latencies) * 1e3, usage.cpu / LONE, usage.foreign)


async def _asked(other: Theirs, peer: Peer, variant: str) -> Sample:
    lone = variant == "lone"
    sagas, at_once = (LONE, 1) if lone else (peer.sagas, AT_ONCE)
    with measured(other.pids) as usage:
        answer = await other.client.ask({"sagas": sagas, "at_once": at_once, "variant": variant})
    figure = statistics.median(answer["latencies"]) * 1e3 if lone else sagas / answer["wall"]
    return Sample(figure, usage.cpu / sagas, usage.foreign)
