"""Ending tasks for good.

A cancellation can get lost: `asyncio.wait_for` of Python 3.11 drops one that comes together with the result,
and nats-py drops one that comes while it flushes; the task then goes on as if nothing had been said.
"""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN = 0.5
"""Seconds until a task that still runs is cancelled once more: more than it needs to clean up."""


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when they have ended, whatever they ended with."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
