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


@DBOS.step()
async def upgrade_step(saga: str, number: int) -> bool:
    """Do or undo one step of an upgrade."""
    return await work.do_upgrade(saga, number)


@DBOS.workflow()
async def upgrade(saga: str) -> str:
    """Do the steps until one finds something wrong, then undo them, last one first."""
    done: list[int] = []
    for number in range(work.VERIFIES + 1):
        if await upgrade_step(saga, number):
            done.append(number)
            continue
        for before in reversed(done):
            if before in work.UNDOES:
                await upgrade_step(saga, work.UNDOES[before])
    return saga


async def main() -> None:
    """Go on with what was interrupted, and serve."""
    DBOS.launch()

    async def run(saga: str, variant: str) -> None:
        with dbos.SetWorkflowID(saga):
            if variant == "upgrade":
                await upgrade(saga)
            else:
                await provision(saga, variant == "schema")

    async def start(saga: str, variant: str) -> None:
        with dbos.SetWorkflowID(saga):
            await DBOS.start_workflow_async(provision, saga, variant == "schema")

    await work.serve(run, start)


asyncio.run(main())
os._exit(0)  # its threads would keep the process
