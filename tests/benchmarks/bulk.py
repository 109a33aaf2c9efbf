"""Durable commands put into the stream: the client's bulk call beside one by one with many in flight."""

from __future__ import annotations

import asyncio
from itertools import islice
from uuid import uuid4

from handlers.client import Request, TenantClient
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import connection, everything, servers, service
from tests.benchmarks.table import Row, Sample, compare

IN_FLIGHT = 256
IN_BULK, ONE_BY_ONE = 20_000, 5_000


async def publish(rounds: int) -> Row:
    """Compare commands a second of one publisher on a server that syncs always; nobody decides them."""
    row = Row("send_many", "/s", "≥ 3", f"send, {IN_FLIGHT} in flight")
    async with (
        servers() as stack,
        service(stack.endpoints, [("relay",)]) as running,
        connection(stack.endpoints) as nc,
    ):
        client = TenantClient(nc)
        tenants = [uuid4() for _ in range(1000)]

        async def ours() -> Sample:
            with measured(everything(running.pids)) as usage:
                sent = await client.send_many(
                    Request(tenants[count % 1000], "update_profile", {"name": f"Acme {count}"})
                    for count in range(IN_BULK)
                )
            assert all(each.error is None for each in sent)
            return Sample(IN_BULK / usage.wall, usage.cpu / IN_BULK, usage.foreign)

        async def lane(first: int) -> None:
            for count in islice(range(ONE_BY_ONE), first, None, IN_FLIGHT):
                await client.send(tenants[count % 1000], "update_profile", {"name": f"Acme {count}"})

        async def theirs() -> Sample:
            with measured(everything(running.pids)) as usage:
                await asyncio.gather(*(lane(first) for first in range(IN_FLIGHT)))
            return Sample(ONE_BY_ONE / usage.wall, usage.cpu / ONE_BY_ONE, usage.foreign)

        return await compare(row, ours, theirs, rounds)
