"""Hearing what projectors and writers tell, for the queries of this process."""

from __future__ import annotations

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.queries.answering import Queries
from handlers.wire.hints import decoded
from handlers.wire.subjects import Subjects
from projections.tenants import TENANT

log = structlog.get_logger()


class Hearing:
    """Feeds hints to `queries`, from `start` to `stop`. Without it queries look for themselves, and later."""

    def __init__(self, nc: Client, queries: Queries, subjects: Subjects) -> None:
        self._nc = nc
        self._queries = queries
        self._handlers = (
            (subjects.hint("projected"), self._projected),
            (subjects.hint("moved"), self._moved),
            (subjects.hint("writing"), self._writing),
        )
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Hear from now on."""
        for subject, handler in self._handlers:
            self._subscriptions.append(await self._nc.subscribe(subject, cb=handler))

    async def stop(self) -> None:
        """Hear no more."""
        if not self._nc.is_closed:
            for subscription in self._subscriptions:
                await subscription.unsubscribe()
        self._subscriptions.clear()

    async def _projected(self, hint: Msg) -> None:
        if hint.data.isdigit():
            self._queries.positions.heard(int(hint.data))

    async def _writing(self, hint: Msg) -> None:
        self._queries.memory.written(hint.data.decode("ascii", "replace").split(","))

    async def _moved(self, hint: Msg) -> None:
        try:
            moved = decoded(hint.data)
        except msgspec.MsgspecError as error:  # of another version: then nothing is kept, and all is read
            log.debug("hint not understood", error=str(error))
            return
        if moved.read_model == TENANT.model.name:
            self._queries.memory.heard(moved)
