"""Temporal: a worker (`worker`) or a client (`client`). Steps are local activities, its quickest kind."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from datetime import timedelta
from typing import Any

from tests.benchmarks.peers.apps import work

activity: Any = importlib.import_module("temporalio.activity")
workflow: Any = importlib.import_module("temporalio.workflow")
client_module: Any = importlib.import_module("temporalio.client")
worker_module: Any = importlib.import_module("temporalio.worker")

QUEUE = "peer"
MANY = 200


@activity.defn
async def do(saga: str, step: int, schema: bool) -> None:
    """Do one step."""
    await work.do(saga, step, schema)


@workflow.defn
class Provisioning:
    """All steps, each of them recorded."""

    @workflow.run
    async def run(self, saga: str, schema: bool) -> str:
        """Do them."""
        limit = timedelta(seconds=30)
        for number in range(len(work.STEPS)):
            await workflow.execute_local_activity(
                do, args=[saga, number, schema], start_to_close_timeout=limit
            )
        return saga


@activity.defn
async def do_upgrade(saga: str, step: int) -> bool:
    """Do or undo one step of an upgrade."""
    return await work.do_upgrade(saga, step)


@workflow.defn
class Upgrading:
    """The steps until one finds something wrong; then what was done is undone, last one first."""

    @workflow.run
    async def run(self, saga: str) -> str:
        """Do them."""
        done: list[int] = []
        for number in range(work.VERIFIES + 1):
            if await self._recorded(saga, number):
                done.append(number)
                continue
            for before in reversed(done):
                if before in work.UNDOES:
                    await self._recorded(saga, work.UNDOES[before])
        return saga

    async def _recorded(self, saga: str, number: int) -> bool:
        return await workflow.execute_local_activity(
            do_upgrade, args=[saga, number], start_to_close_timeout=timedelta(seconds=30)
        )


async def serve_worker(client: Any) -> None:
    """Work until killed."""
    worker = worker_module.Worker(
        client,
        task_queue=QUEUE,
        workflows=[Provisioning, Upgrading],
        activities=[do, do_upgrade],
        workflow_runner=worker_module.UnsandboxedWorkflowRunner(),
        max_concurrent_activities=MANY,
        max_concurrent_workflow_tasks=MANY,
        max_concurrent_local_activities=MANY,
    )
    await worker.run()


async def serve_client(client: Any) -> None:
    """Serve wishes."""

    async def start(saga: str, variant: str) -> Any:
        args = [saga, variant == "schema"]
        return await client.start_workflow(Provisioning.run, args=args, id=saga, task_queue=QUEUE)

    async def run(saga: str, variant: str) -> None:
        upgrade = variant == "upgrade"
        what, args = (Upgrading.run, [saga]) if upgrade else (Provisioning.run, [saga, variant == "schema"])
        await client.execute_workflow(what, args=args, id=saga, task_queue=QUEUE)

    await work.serve(run, start)


async def main() -> None:
    """Be what the command line says."""
    client = await client_module.Client.connect(os.environ["PEER_SERVER"])
    await (serve_worker if sys.argv[1] == "worker" else serve_client)(client)


if __name__ == "__main__":
    asyncio.run(main())
