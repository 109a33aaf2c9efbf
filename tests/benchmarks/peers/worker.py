"""Ours: the process of the role `sagas`, with the benchmarks' sagas in the place of the service's.

It is run as a program, with any of `schema` and `pause` behind it, until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys

import nats
import uvloop
from prometheus_client import CollectorRegistry

from handlers import logs
from handlers.garbage import collect_rarely
from handlers.saga_runner.role import SagasRole
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Subjects
from sagas.provisioning import PROVISIONING
from sagas.upgrade import UPGRADE
from tenant_domain.catalogue import Policy
from tests.benchmarks.peers import six_steps, turned_back


async def main(options: list[str]) -> None:
    """Drive sagas."""
    logs.configure("error", "console")
    schema, pause = "schema" in options, "pause" in options
    postgres_url = os.environ["TENANTS_POSTGRES_URL"]
    nc = await nats.connect(os.environ["TENANTS_NATS_URL"])
    async with EventStore(postgres_url) as store:
        role = SagasRole(
            postgres_url=postgres_url,
            store=store,
            nats=nc,
            subjects=Subjects("tenants"),
            effects={**turned_back.effects(), **six_steps.effects(schema=schema)},
            policy=Policy(),
            registry=CollectorRegistry(),
            sagas={
                PROVISIONING.kind: six_steps.six_steps(schema=schema, pause=pause),
                UPGRADE.kind: turned_back.turned_back(),
            },
        )
        await role.start()
        collect_rarely()  # as every process of the service
        print("{}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
