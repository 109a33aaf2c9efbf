"""Waiting: one limit for all tests, above any stall of a busy machine, and a failure that says for what.

A machine of a CI system may stand still for half a minute: its disk syncs, its processors are lent to others.
"""

from __future__ import annotations

import asyncio
import inspect
import linecache
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which a test gives up on what it waits for: less than a whole test has."""


@asynccontextmanager
async def within(what: str) -> AsyncGenerator[None]:
    """Give what is done inside all patience. Raises AssertionError with `what` when it was not enough."""
    limit = asyncio.timeout(PATIENCE)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}") from error


def until(
    holds: Callable[[], Awaitable[object] | bool], what: str | None = None, pause: float = 0.02
) -> Coroutine[Any, Any, None]:
    """Wait until it holds, asking every `pause` seconds: for what happens elsewhere and is told to nobody.

    Raises AssertionError with `what`, or else with the line that waits.
    """
    return _until(holds, what or _line(sys._getframe(1)), pause)  # pyright: ignore[reportPrivateUsage] - the caller


async def _until(holds: Callable[[], Awaitable[object] | bool], what: str, pause: float) -> None:
    async with within(what):
        while True:
            found = holds()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(pause)


def soon(awaited: Awaitable[T], what: str | None = None) -> Coroutine[Any, Any, T]:
    """Return what `awaited` gives. Raises AssertionError with `what`, or else with the line that waits."""
    return _soon(awaited, what or _line(sys._getframe(1)))  # pyright: ignore[reportPrivateUsage] - the caller


async def _soon(awaited: Awaitable[T], what: str) -> T:
    async with within(what):
        return await awaited


def _line(frame: FrameType) -> str:
    file = frame.f_code.co_filename
    return f"{linecache.getline(file, frame.f_lineno).strip()!r} ({file}, line {frame.f_lineno})"
