"""Who owns which partition, as far as this process knows.

It reads PostgreSQL when a worker says that it holds others than before, and now and then. What is known may
be old: whoever gets a command decides it, and the append finds out what that rests on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from handlers.adapters.tasks import end, watched
from handlers.store.errors import StoreError
from handlers.wire.subjects import partition_of

log = structlog.get_logger()

HINT = "owners"
"""Told by a worker that holds other partitions than before."""

LOOK = 1.0
"""Seconds between two looks without a hint."""

_PAUSE = 0.01
"""Seconds between two looks with hints: partitions change hands many at a time."""


class Owners:
    """The owners of all partitions, from `start` to `stop`; `read` gives them in that order."""

    def __init__(
        self,
        connection: Callable[[], Client],
        hint: str,
        read: Callable[[], Awaitable[Sequence[UUID | None]]],
        *,
        look: float = LOOK,
    ) -> None:
        self._connection = connection
        self._hint = hint
        self._read = read
        self._look = look
        self._owners: Sequence[UUID | None] = ()
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._wake = asyncio.Event()
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def of(self, tenant_id: UUID) -> UUID | None:
        """Return who owns a tenant's partition; None when nobody does, or it is not known."""
        return self._owners[partition_of(str(tenant_id), len(self._owners))] if self._owners else None

    @property
    def all(self) -> Sequence[UUID | None]:
        """The owner of each partition; empty while none was read."""
        return self._owners

    def on_change(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Have `listener` called whenever another owner was read."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Begin to look; the database need not be there yet."""
        self._subscription = await self._connection().subscribe(self._hint, cb=self._hinted)
        self._task = watched(self._run(), "owners of partitions")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            await end(self._task)
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._connection().is_closed:
            await subscription.unsubscribe()

    async def _hinted(self, _message: Msg) -> None:
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._refresh()
            await asyncio.sleep(_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look):
                    await self._wake.wait()
            self._wake.clear()

    async def _refresh(self) -> None:
        try:
            found = await self._read()
            if found != self._owners:
                self._owners = found
                for listener in self._listeners:
                    await listener()
        except (StoreError, NatsError, OSError) as error:
            log.debug("owners of partitions not read", error=repr(error))
        except Exception as error:
            log.exception("owners of partitions cannot be read", error=type(error).__name__)
