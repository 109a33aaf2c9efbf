"""One round: a stack, load on it, chaos in it, and the check of everything that was promised."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deploy.dev import DevStack, Options
from tests.faults.chaos import Chaos
from tests.faults.checker import violations, wait_until_quiet
from tests.faults.load import drive


@dataclass(frozen=True)
class Report:
    """How a round went; `broken` are sentences, empty when every promise was kept."""

    seed: int
    promises: int
    repeats: int
    tenants: int
    harms: Counter[str]
    broken: list[str]


async def run(data_dir: Path, *, seconds: float, seed: int, writers: int = 8, tenants: int = 5) -> Report:
    """Run one round of `seconds` of load and chaos on a fresh stack in `data_dir`."""
    stack = DevStack(Options(data_dir, environment=(("TENANTS_LOG_LEVEL", "error"),)))
    addresses = await stack.start()
    try:
        stop = asyncio.Event()
        load = asyncio.create_task(drive(addresses.nats, stop, writers=writers, tenants=tenants, seed=seed))
        chaos = Chaos(stack, seed)
        await chaos.run(seconds)
        stop.set()
        ledger = await load
        broken = await wait_until_quiet(addresses.postgres, addresses.nats)
        broken = broken or await violations(
            addresses.postgres, addresses.nats, data_dir / "keys" / "master.key", ledger
        )
        return Report(seed, len(ledger.promises), ledger.repeats, len(ledger.tenants), chaos.done, broken)
    finally:
        await stack.stop()
