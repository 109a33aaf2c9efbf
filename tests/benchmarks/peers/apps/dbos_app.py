"""DBOS: worker and client are one process, as it is meant to be used."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

from tests.benchmarks.peers.apps import work

dbos: Any = importlib.import_module("dbos")
DBOS: Any = dbos.DBOS

DBOS(
    config={
        "name": "peer",
        "system_database_url": os.environ["PEER_POSTGRES_URL"],
        "log_level": "ERROR",
        "application_version": "1",
        "executor_id": "peer",
        "run_admin_server": False,
    }
)


@DBOS.step()
async def step(saga: str, number: int, schema: bool) -> None:
    """Do one step."""
    await work.do(saga, number, schema)


@DBOS.workflow()
async def provision(saga: str, schema: bool) -> str:
    """Do all steps, each of them recorded."""
    for number in range(len(work.STEPS)):
        await step(saga, number, schema)
    return saga


async def main() -> None:
    """Go on with what was interrupted, and serve."""
    DBOS.launch()

    async def run(saga: str, schema: bool) -> None:
        with dbos.SetWorkflowID(saga):
            await provision(saga, schema)

    async def start(saga: str, schema: bool) -> None:
        with dbos.SetWorkflowID(saga):
            await DBOS.start_workflow_async(provision, saga, schema)

    await work.serve(run, start)


asyncio.run(main())
os._exit(0)  # its threads would keep the process
