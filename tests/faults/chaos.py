"""Chaos: kills, freezes and restarts of one part after another, chosen by a seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from typing import Literal

from deploy.dev import DevStack

ServerName = Literal["nats", "postgres"]


class Chaos:
    """Does one random harm after another to a running stack, and counts them."""

    def __init__(self, stack: DevStack, seed: int) -> None:
        self._stack = stack
        self._rng = random.Random(seed)
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float, pause: tuple[float, float] = (0.5, 2.5)) -> None:
        """Harm the stack for `seconds`, with pauses between in which it may or may not recover."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await asyncio.sleep(self._rng.uniform(*pause))
            harm = self._rng.choice(
                (self._kill_process, self._kill_server, self._freeze_process, self._freeze_server)
            )
            await harm()

    async def _kill_process(self) -> None:
        process = self._rng.choice(self._stack.processes)
        self.done[f"kill {process.name}"] += 1
        _signal(process.pid, signal.SIGKILL)

    async def _kill_server(self) -> None:
        name: ServerName = self._rng.choice(("nats", "postgres"))
        self.done[f"kill {name}"] += 1
        await self._stack.servers.kill(name)

    async def _freeze_process(self) -> None:
        process = self._rng.choice(self._stack.processes)
        pid = process.pid
        self.done[f"freeze {process.name}"] += 1
        _signal(pid, signal.SIGSTOP)
        await asyncio.sleep(self._rng.uniform(0.5, 5.0))
        _signal(pid, signal.SIGCONT)

    async def _freeze_server(self) -> None:
        name: ServerName = self._rng.choice(("nats", "postgres"))
        self.done[f"freeze {name}"] += 1
        self._stack.servers.pause(name)
        await asyncio.sleep(self._rng.uniform(0.5, 4.0))
        self._stack.servers.resume(name)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it died of itself, or of the harm before
