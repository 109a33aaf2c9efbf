"""Tasks: those that nobody awaits are watched, and ending one is for good.

A cancellation can get lost: `asyncio.wait_for` of Python 3.11 drops one that comes together with the result,
and nats-py drops one that comes while it flushes; the task then goes on as if nothing had been said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

AGAIN = 0.5
"""Seconds until a task that still runs is cancelled once more: more than it needs to clean up."""


DEFECT = "defect"
"""Stands in what a loop's exception handler is told of a watched task that has failed."""


def watched(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Begin a task that nobody awaits before it is told to end.

    Whatever a server says, its loop lives through. What ends it all the same is a defect: the event loop's
    exception handler is told at once, and the process ends, to be started again by its supervisor.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_looked_at)
    return task


def _looked_at(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    told = {"message": f"{task.get_name()} has failed", "exception": error, "future": task, DEFECT: True}
    task.get_loop().call_exception_handler(told)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when they have ended, whatever they ended with."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
