"""Blocking calls whose callers are cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from handlers.adapters.threads import Threads
from tests.support.waiting import PATIENCE


async def test_who_is_cancelled_waits_for_what_has_begun_and_what_has_not_never_happens(
    caplog: pytest.LogCaptureFixture,
):
    threads, begun, go_on = Threads(1, "test"), threading.Event(), threading.Event()
    done: list[str] = []

    def long() -> None:
        begun.set()
        go_on.wait()
        done.append("long")
        raise ValueError("that nobody hears")

    leaving = threading.Timer(10, go_on.set)  # where an assertion fails
    leaving.start()
    running = asyncio.create_task(threads.call(long))
    waiting = asyncio.create_task(threads.call(done.append, "next"))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    assert await asyncio.wait({waiting}, timeout=PATIENCE) == ({waiting}, set())
    for _ in range(2):
        running.cancel()
        assert await asyncio.wait({running}, timeout=0.05) == (set(), {running})
    go_on.set()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    del running
    gc.collect()
    assert (done, caplog.messages) == (["long"], [])
    threads.close()


async def test_what_is_returned_and_raised_arrives():
    threads = Threads(1, "test")
    assert await threads.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.call(divmod, 7, 0)
    threads.close()
