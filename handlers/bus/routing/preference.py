"""Having the server give an owner the commands of its partitions, where it sorts commands by them.

All workers share one queue group, so that whatever the owner does, somebody answers; among its
subscriptions the server chooses by chance. So the owner of a partition subscribes to it many times, and
gets nearly all of it: the rest is forwarded, and when the owner is gone the others get all of it at once,
without anybody having to notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.bus.routing.owners import Owners
from handlers.wire.subjects import Subjects

WEIGHT = 15
"""Subscriptions to each own partition for every other worker: one command of sixteen takes the long way."""

MOST = 1_000
"""Subscriptions of a worker: each costs it and the server some kilobytes."""


class Preference:
    """The subscriptions of the worker `me` to its own partitions in the queue group `queue`."""

    def __init__(
        self,
        connection: Callable[[], Client],
        subjects: Subjects,
        owners: Owners,
        me: UUID,
        queue: str,
        take: Callable[[Msg], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._owners = owners
        self._me = me
        self._queue = queue
        self._take = take
        self._held: dict[int, list[Subscription]] = {}
        self._changing = asyncio.Lock()
        self._open = False

    async def start(self) -> None:
        """Prefer what is owned, from now on."""
        self._open = True
        self._owners.on_change(self._follow)
        await self._follow()

    async def stop(self) -> None:
        """Prefer nothing."""
        self._open = False
        await self._follow()

    async def _follow(self) -> None:
        async with self._changing:
            if self._connection().is_closed:
                return
            wanted = self._wanted() if self._open else {}
            for partition in {*self._held, *wanted}:
                await self._adjust(partition, wanted.get(partition, 0))

    def _wanted(self) -> dict[int, int]:
        """Return how many subscriptions each own partition is to have: none without other workers."""
        owners = self._owners.all
        others = len({owner for owner in owners if owner not in (None, self._me)})
        own = [partition for partition, owner in enumerate(owners) if owner == self._me]
        if not others or not own:
            return {}
        return dict.fromkeys(own, min(WEIGHT * others, max(1, MOST // len(own))))

    async def _adjust(self, partition: int, number: int) -> None:
        held = self._held.setdefault(partition, [])
        while len(held) < number:
            subject = self._subjects.rpc_partition(partition)
            held.append(await self._connection().subscribe(subject, queue=self._queue, cb=self._take))
        while len(held) > number:
            await held.pop().unsubscribe()
        if not held:
            del self._held[partition]
