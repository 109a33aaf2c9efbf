"""Blocking calls in threads, of which nothing happens after whoever asked for them has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Makes at most `most` calls at a time; further ones wait for their turn.

    They are not the event loop's own threads, in which it looks up hosts for everybody.
    """

    def __init__(self, most: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns, or raise what it raises.

        A thread goes on where its caller is cancelled, so the caller waits for its end first. What has not
        begun by then never happens.
        """
        job = self._pool.submit(function, *args, **kwargs)
        ended = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            job.cancel()
            while not ended.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({ended})
            raise

    def close(self) -> None:
        """End the threads; all calls have ended."""
        self._pool.shutdown(wait=False)
