"""Restate: the endpoint that its server calls (`app`), and a client of its ingress (run as a program)."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

from tests.benchmarks.peers.apps import work

restate: Any = importlib.import_module("restate")

provisioning: Any = restate.Workflow("Provisioning")
upgrading: Any = restate.Workflow("Upgrading")


@provisioning.main()
async def run(ctx: Any, wish: dict[str, Any]) -> str:
    """Do all steps, each of them recorded."""
    for number, name in enumerate(work.STEPS):
        await ctx.run_typed(name, work.do, saga=wish["saga"], step=number, schema=wish["schema"])
    return wish["saga"]


@upgrading.main("run")
async def upgrade(ctx: Any, wish: dict[str, Any]) -> str:
    """Do the steps until one finds something wrong, then undo them, last one first."""
    done: list[int] = []
    for number in range(work.VERIFIES + 1):
        if await _recorded(ctx, wish, number):
            done.append(number)
            continue
        for before in reversed(done):
            if before in work.UNDOES:
                await _recorded(ctx, wish, work.UNDOES[before])
    return wish["saga"]


async def _recorded(ctx: Any, wish: dict[str, Any], number: int) -> bool:
    return await ctx.run_typed(work.UPGRADE[number], work.do_upgrade, saga=wish["saga"], step=number)


app: Any = restate.app([provisioning, upgrading])


async def main() -> None:
    """Register the endpoint, and serve."""
    aiohttp: Any = importlib.import_module("aiohttp")
    ingress, admin = os.environ["PEER_INGRESS"], os.environ["PEER_ADMIN"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def post(url: str, body: dict[str, Any]) -> None:
            async with http.post(url, json=body) as answer:
                if answer.status >= 300:
                    raise RuntimeError(f"{url}: {answer.status} {await answer.text()}")

        async def ask(saga: str, variant: str, verb: str) -> None:
            workflow = "Upgrading" if variant == "upgrade" else "Provisioning"
            await post(f"{ingress}/{workflow}/{saga}/{verb}", {"saga": saga, "schema": variant == "schema"})

        await post(f"{admin}/deployments", {"uri": os.environ["PEER_ENDPOINT"]})
        await work.serve(
            lambda saga, variant: ask(saga, variant, "run"),
            lambda saga, variant: ask(saga, variant, "run/send"),
        )


if __name__ == "__main__":
    asyncio.run(main())
