"""Health: whether this process can do its work, part by part, and why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import structlog

from handlers.adapters.tasks import end

_log = structlog.get_logger()

Probe = Callable[[], Awaitable[object]]
"""Asks one part for a sign of life; raises when there is none."""

FRESH, PATIENCE = 0.5, 1.2
"""Seconds that an answer is good for, and that a part may take for one: together less than the two seconds
after which whoever asks has to hear of a part that is down, also over a slow network."""

LONGEST = 30.0
"""Seconds after which a probe is given up that lasts on and on."""


class Down(Exception):
    """A part is down; the text says why, to anybody."""


class Report(NamedTuple):
    """`ok` or `down` for each part, and the reason for each that is down."""

    parts: dict[str, str]
    reasons: dict[str, str]

    @property
    def well(self) -> bool:
        """Whether all parts are."""
        return not self.reasons

    def body(self) -> dict[str, object]:
        """Return what a caller gets, as JSON's values."""
        status = "ok" if self.well else "unavailable"
        reasons = {"reasons": self.reasons} if self.reasons else {}
        return {"status": status, "parts": self.parts, **reasons}


class Health:
    """Asks all parts, at most once in `fresh` seconds whoever asks us; a part has `patience` seconds.

    A probe that takes longer goes on: connecting over a slow network needs its time, and a driver may take
    many seconds to let go of a server that says nothing. Until its end its part is down, and no other probe
    joins it.
    """

    def __init__(
        self, probes: Mapping[str, Probe], *, fresh: float = FRESH, patience: float = PATIENCE
    ) -> None:
        self._probes = probes
        self._fresh = fresh
        self._patience = patience
        self._asking: asyncio.Task[Report] | None = None
        self._asked = float("-inf")
        self._probing: dict[str, asyncio.Task[str | None]] = {}
        self._since: dict[str, float] = {}

    async def report(self) -> Report:
        """Return how each part is."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked > self._fresh):
            self._asked = now
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """End the probes that are under way."""
        await end(*self._probing.values())

    async def _ask(self) -> Report:
        reasons = await asyncio.gather(*(self._reason(name) for name in self._probes))
        found = dict(zip(self._probes, reasons, strict=True))
        return Report(
            {name: "ok" if reason is None else "down" for name, reason in found.items()},
            {name: reason for name, reason in found.items() if reason is not None},
        )

    async def _reason(self, name: str) -> str | None:
        probing = self._probing.get(name)
        if probing is None or probing.done():
            self._since[name] = time.monotonic()
            probing = self._probing[name] = asyncio.create_task(self._asked_for(name))
        done, _ = await asyncio.wait((probing,), timeout=self._patience)
        if done:
            reason = "no answer" if probing.cancelled() else probing.result()
        else:
            reason = "no answer"
            if time.monotonic() - self._since[name] > LONGEST and not probing.cancelling():
                probing.cancel()
        if reason is not None:
            _log.warning("part is down", part=name, why=reason)
        return reason

    async def _asked_for(self, name: str) -> str | None:
        """Return why a part is down: our own words, or an error's kind: its text may tell much."""
        try:
            await self._probes[name]()
        except Down as down:
            return str(down)
        except Exception as error:  # noqa: BLE001 - whatever a probe raises means the same
            return type(error).__name__
        return None
