"""Questions asked together: those that come while others are answered share the next statement.

Over a slow network one after another would take longer than anybody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")


class Together(Generic[K, V, R]):
    """Answers by `answer`, which gets the questions by their keys and leaves out what has no answer."""

    def __init__(self, answer: Callable[[Mapping[K, V]], Awaitable[Mapping[K, R]]]) -> None:
        self._answer = answer
        self._turn = asyncio.Lock()
        self._gathered: dict[K, V] = {}
        self._next: asyncio.Task[Mapping[K, R]] | None = None

    async def ask(self, key: K, value: V) -> R | None:
        """Return the answer for `key`. Raises what `answer` does, to all that asked together."""
        self._gathered[key] = value
        if self._next is None:
            self._next = asyncio.create_task(self._answered(), name="questions together")
            self._next.add_done_callback(_looked_at)
        return (await asyncio.shield(self._next)).get(key)

    async def _answered(self) -> Mapping[K, R]:
        async with self._turn:
            gathered, self._gathered, self._next = self._gathered, {}, None
            return await self._answer(gathered)


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Look at what nobody waits for any more, so that nobody is warned of it."""
    if not task.cancelled():
        task.exception()
