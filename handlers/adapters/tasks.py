"""Tasks: those that nobody awaits are watched, and ending one is for good.

A cancellation can get lost: `asyncio.wait_for` of Python 3.11 drops one that comes together with the result,
and nats-py drops one that comes while it flushes; the task then goes on as if nothing had been said. A
timeout cancels once: a loop of requests under `asyncio.timeout` that loses it would go on for ever.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

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


def keep_cancellations() -> None:
    """Have `asyncio.wait_for` of this program lose no cancellation, whoever calls it.

    The libraries that wait for the servers call it. Python 3.12 mended it (CPython's gh-96764).
    """
    if sys.version_info < (3, 12):
        asyncio.wait_for = wait_for


async def wait_for(awaited: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - as asyncio's own
    """Return what `awaited` gives within `timeout` seconds; None is without a limit.

    Raises TimeoutError, and whatever `awaited` does. A coroutine runs in the calling task.
    """
    if timeout is not None and timeout <= 0:
        return await _at_once(asyncio.ensure_future(awaited))
    async with asyncio.timeout(timeout):
        return await awaited


async def _at_once(future: asyncio.Future[T]) -> T:
    if not future.done():
        future.cancel()
        await asyncio.wait([future])
    if future.cancelled():
        raise TimeoutError
    return future.result()
