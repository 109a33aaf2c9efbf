"""Health: whether this process lives, and whether the parts that it needs answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

_log = structlog.get_logger()

Probe = Callable[[], Awaitable[object]]
"""Asks one part for a sign of life; raises when there is none."""


class Health:
    """Asks all parts, at most once in `fresh` seconds whoever asks us; a part has `patience` seconds.

    A probe that hangs is not waited for, nor is its end: a driver may take many seconds to let go of a server
    that says nothing. Until then its part is down, and no other probe joins it.
    """

    def __init__(self, probes: Mapping[str, Probe], *, fresh: float = 1.0, patience: float = 2.0) -> None:
        self._probes = probes
        self._fresh = fresh
        self._patience = patience
        self._asking: asyncio.Task[dict[str, str]] | None = None
        self._asked = float("-inf")
        self._probing: dict[str, asyncio.Task[bool]] = {}

    async def parts(self) -> dict[str, str]:
        """Return `ok` or `down` for each part."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked > self._fresh):
            self._asked = now
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> dict[str, str]:
        answers = await asyncio.gather(*(self._alive(name) for name in self._probes))
        return dict(zip(self._probes, answers, strict=True))

    async def _alive(self, name: str) -> str:
        probing = self._probing.get(name)
        if probing is None or probing.done():
            probing = self._probing[name] = asyncio.create_task(self._answers(name))
        done, _ = await asyncio.wait((probing,), timeout=self._patience)
        if done:
            return "ok" if not probing.cancelled() and probing.result() else "down"
        if not probing.cancelling():
            probing.cancel()
        _log.warning("part is down", part=name, why="no answer")
        return "down"

    async def _answers(self, name: str) -> bool:
        try:
            await self._probes[name]()
        except Exception as error:  # noqa: BLE001 - whatever a probe raises means the same
            _log.warning("part is down", part=name, why=type(error).__name__)
            return False
        return True
