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


async def serve_worker(client: Any) -> None:
    """Work until killed."""
    worker = worker_module.Worker(
        client,
        task_queue=QUEUE,
        workflows=[Provisioning],
        activities=[do],
        workflow_runner=worker_module.UnsandboxedWorkflowRunner(),
        max_concurrent_activities=MANY,
        max_concurrent_workflow_tasks=MANY,
        max_concurrent_local_activities=MANY,
    )
    await worker.run()


async def serve_client(client: Any) -> None:
    """Serve wishes."""

    async def start(saga: str, schema: bool) -> Any:
        return await client.start_workflow(Provisioning.run, args=[saga, schema], id=saga, task_queue=QUEUE)

    async def run(saga: str, schema: bool) -> None:
        await client.execute_workflow(Provisioning.run, args=[saga, schema], id=saga, task_queue=QUEUE)

    await work.serve(run, start)


async def main() -> None:
    """Be what the command line says."""
    client = await client_module.Client.connect(os.environ["PEER_SERVER"])
    await (serve_worker if sys.argv[1] == "worker" else serve_client)(client)


if __name__ == "__main__":
    asyncio.run(main())
