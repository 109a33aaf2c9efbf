"""How a relay stays at work, whatever it relays: it follows the log, stands by, and goes on after trouble.

Any number of relays may run beside each other. One is refused as soon as another has published: it stands by
and watches, and takes over when the other one stands still.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeAlias

from handlers.relay.outlet import OutOfPlace

LONGEST_WAIT = 5.0
"""Seconds between two tries at most, while NATS or PostgreSQL is away."""


class Restarted(Exception):
    """The database is another incarnation: what was held against it before may be true no more."""


Ended: TypeAlias = Callable[[Exception, int], None]
"""Is told what ended a try, and of how many failures in a row: none, where another relay was quicker."""


async def keep_on(
    follow: Callable[[], Awaitable[None]], stand_by: Callable[[], Awaitable[None]], ended: Ended
) -> NoReturn:
    """Call `follow` again and again; after a refusal `stand_by` first, after any other trouble pause.

    `follow` returns when nothing came for a while, and raises OutOfPlace where another relay is at work.
    """
    standing_by, failures = False, 0
    while True:
        try:
            if standing_by:
                await stand_by()
                standing_by = False
            await follow()
            failures = 0
        except OutOfPlace as refusal:
            standing_by, failures = True, 0
            ended(refusal, failures)
        except Exception as error:  # noqa: BLE001 - an engine outlives whatever befalls it
            failures += 1
            ended(error, failures)
            longest = min(LONGEST_WAIT, 0.1 * 2 ** min(failures, 10))
            await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - jitter


class Hints:
    """Hints that there is more to relay. Those that come before a look count as seen by it."""

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self._hint = asyncio.Event()

    def heard(self) -> None:
        """Note that there is more."""
        self._hint.set()

    def looking(self) -> None:
        """Forget the hints so far: what they tell of is looked at now."""
        self._hint.clear()

    async def come(self) -> bool:
        """Wait for a hint since the last look; False when none came in the seconds of a poll."""
        try:
            async with asyncio.timeout(self._poll):
                await self._hint.wait()
        except TimeoutError:
            return False
        return True
