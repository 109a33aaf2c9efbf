"""Waiting with a limit: no cancellation gets lost, not even one that comes together with the result."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from handlers.adapters.tasks import wait_for


async def test_a_cancellation_that_comes_with_the_result_is_kept() -> None:
    asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(asyncio.wait_for(asked, 30))
    await asyncio.sleep(0)
    asked.set_result("answer")
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_a_loop_of_requests_ends_at_its_timeout_whenever_the_answers_come() -> None:
    loop = asyncio.get_running_loop()
    hour = asyncio.timeout(3600)

    async def requests() -> None:
        for _ in range(3):
            asked: asyncio.Future[None] = loop.create_future()
            loop.call_soon(hour.reschedule, loop.time())
            loop.call_soon(loop.call_soon, asked.set_result, None)
            await asyncio.wait_for(asked, 30)
            await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        async with hour:
            await requests()


async def nothing() -> str:
    return "done"


async def for_ever() -> str:
    await asyncio.Event().wait()
    return "never"


@pytest.mark.parametrize("limit", [0, -1, 0.001])
async def test_what_does_not_come_in_time_is_cancelled_and_said(limit: float) -> None:
    with pytest.raises(TimeoutError):
        await wait_for(for_ever(), limit)


@pytest.mark.parametrize("limit", [None, 30])
async def test_what_comes_in_time_is_returned(limit: float | None) -> None:
    assert await wait_for(nothing(), limit) == "done"


async def test_what_is_there_already_needs_no_time() -> None:
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done.set_result("done")
    assert await wait_for(done, 0) == "done"


async def failing() -> Coroutine[Any, Any, None]:
    raise ValueError("no")


async def test_a_failure_is_passed_on() -> None:
    with pytest.raises(ValueError, match="no"):
        await wait_for(failing(), 30)
