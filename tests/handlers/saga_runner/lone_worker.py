"""A worker in a process of its own, for tests that kill it: POSTGRES_URL NATS_URL OBJECTS PREFIX [SCRIPT].

The script is JSON: for each tenant the point that its run pauses at, and the effect before which it fails
for good (or null). With it the sagas keep the patience that they have in service. Each pause prints a line; a
line on the standard input lets all of them go on. A run that is taken anew pauses anew: a slow machine may
cost its worker the lease.
"""

import asyncio
import json
import sys
from pathlib import Path
from uuid import UUID

from handlers.adapters.effects import Effects, Work
from handlers.saga_runner.worker import Limits
from handlers.wire.subjects import Subjects
from sagas.registry import SAGAS
from tests.handlers.saga_runner.faults import Faults, fail_for_good
from tests.handlers.saga_runner.house import house_at, quickened


def scripted(table: Effects, script: str, released: asyncio.Event) -> Effects:
    """Return the effects with what the script says of them."""

    async def pause(work: Work) -> None:
        print(work.tenant_id, flush=True)
        await released.wait()

    faults = Faults(table)
    for tenant, (point, failing) in json.loads(script).items():
        faults.plan((point[0], point[1]), *[pause] * 100, tenant_id=UUID(tenant))
        if failing is not None:
            faults.plan(("before", failing), *[fail_for_good] * 5, tenant_id=UUID(tenant))
    return faults.effects()


async def main(postgres_url: str, nats_url: str, objects: str, prefix: str, script: str = "{}") -> None:
    """Work until killed."""
    released = asyncio.Event()
    sagas = quickened() if script == "{}" else SAGAS
    limits = Limits(lease=0.5, poll=0.05, concurrency=4 if script == "{}" else 16)
    async with house_at(postgres_url, nats_url, Path(objects)) as house:
        house.subjects = Subjects(prefix)
        effects = scripted(house.effects, script, released)
        async with house.working(limits=limits, sagas=sagas, effects=effects):
            await asyncio.to_thread(sys.stdin.readline)
            released.set()
            await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
