"""Restate: the endpoint that its server calls (`app`), and a client of its ingress (run as a program)."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

from tests.benchmarks.peers.apps import work

restate: Any = importlib.import_module("restate")

provisioning: Any = restate.Workflow("Provisioning")


@provisioning.main()
async def run(ctx: Any, wish: dict[str, Any]) -> str:
    """Do all steps, each of them recorded."""
    for number, name in enumerate(work.STEPS):
        await ctx.run_typed(name, work.do, saga=wish["saga"], step=number, schema=wish["schema"])
    return wish["saga"]


app: Any = restate.app([provisioning])


async def main() -> None:
    """Register the endpoint, and serve."""
    aiohttp: Any = importlib.import_module("aiohttp")
    ingress, admin = os.environ["PEER_INGRESS"], os.environ["PEER_ADMIN"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def post(url: str, body: dict[str, Any]) -> None:
            async with http.post(url, json=body) as answer:
                if answer.status >= 300:
                    raise RuntimeError(f"{url}: {answer.status} {await answer.text()}")

        async def ask(saga: str, schema: bool, verb: str) -> None:
            await post(f"{ingress}/Provisioning/{saga}/{verb}", {"saga": saga, "schema": schema})

        await post(f"{admin}/deployments", {"uri": os.environ["PEER_ENDPOINT"]})
        await work.serve(
            lambda saga, schema: ask(saga, schema, "run"), lambda saga, schema: ask(saga, schema, "run/send")
        )


if __name__ == "__main__":
    asyncio.run(main())
