"""The owner's side: commands of its partitions that came in through the doors of other processes.

Whatever arrives here is decided here, whoever owns its partition now: nothing is forwarded twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.bus.connection import flush
from handlers.bus.replies import Replies
from handlers.bus.routing import wire
from handlers.execution.executor import Executor
from handlers.wire.headers import NOT_TAKEN
from handlers.wire.subjects import Subjects, is_inbox

log = structlog.get_logger()


class Receiver:
    """Takes what is sent to the worker `me`; an empty message asks whether it lives."""

    def __init__(
        self,
        connection: Callable[[], Client],
        executor: Executor,
        replies: Replies,
        subjects: Subjects,
        me: UUID,
    ) -> None:
        self._connection = connection
        self._executor = executor
        self._replies = replies
        self._subject = subjects.worker(me)
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe; when this returns the server knows of it."""
        nc = self._connection()
        self._subscription = await nc.subscribe(self._subject, cb=self._take)
        await flush(nc)

    async def stop(self) -> None:
        """Take no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._connection().is_closed:
            await subscription.unsubscribe()

    async def _take(self, message: Msg) -> None:
        inbox = message.reply
        if not is_inbox(inbox):
            return
        if not message.data:
            await self._connection().publish(inbox)
            return
        try:
            request = wire.decoded(message.data)
        except Exception as error:  # noqa: BLE001 - of another version: its door decides it
            log.info("command of another worker's door not taken", error=type(error).__name__)
            await self._connection().publish(inbox, headers={NOT_TAKEN: "1"})
            return
        self._executor.submit(request, partial(self._replies.send, inbox))
