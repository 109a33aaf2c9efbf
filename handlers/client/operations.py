"""Following an operation to its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from handlers.client.answers import Operation
from handlers.client.arguments import seconds_of, whole_of
from handlers.client.errors import NoAnswer
from handlers.client.link import Link
from handlers.client.queries import queried
from handlers.wire.headers import CE_POSITION
from tenant_domain.refusals import NotFound, StaleRead, TenantNotFound, Unavailable

FIRST_POLL, LONGEST_POLL = 0.05, 1.0
"""Seconds between questions when no event comes, doubled each time: events are only the quicker way."""

ENDS = frozenset({"succeeded", "rolled_back", "cancelled", "parked"})
"""The facts after which an operation has ended, or waits for a person."""

PATIENCE = 5
"""How often an operation may be unknown before it is taken for none: the read models can be behind."""


async def followed(
    link: Link, tenant_id: UUID, operation_id: UUID, timeout: float | None, position: int
) -> Operation:
    """Return the operation once it has ended or is parked; it is known from `position` on.

    The events of its end that pass on the bus say when to ask; where none comes it is asked for now and then.
    Raises NoAnswer after `timeout` seconds, and NotFound; InvalidArgument, and ClientClosed.
    """
    timeout = None if timeout is None else seconds_of(timeout)
    whole_of(position, "min_position")
    link.require_open()
    news = _News(position)
    subscription = await link.nc.subscribe(link.subjects.event(tenant_id, "operation.*"), cb=news.heard)
    try:
        async with asyncio.timeout(timeout):
            return await _watched(link, tenant_id, operation_id, news)
    except TimeoutError as error:
        detail = f"The operation {operation_id} has not ended in {timeout:g} s; it goes on by itself."
        raise NoAnswer(detail, tenant_id=tenant_id) from error
    finally:
        with suppress(NatsError):
            await subscription.unsubscribe()


_read = msgspec.json.Decoder(Operation).decode


class _News:
    """Up to where events that end an operation have passed; asking at each step would cost a query."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._moved = asyncio.Event()

    async def heard(self, message: Msg) -> None:
        if message.subject.rpartition(".")[2] not in ENDS:
            return
        position = (message.headers or {}).get(CE_POSITION, "")
        if position.isdigit():
            self.position = max(self.position, int(position))
        self._moved.set()

    async def wait(self, longest: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._moved.wait()
        self._moved.clear()


async def _watched(link: Link, tenant_id: UUID, operation_id: UUID, news: _News) -> Operation:
    patience, poll = PATIENCE, FIRST_POLL
    if news.position:  # it was begun a moment ago: its end will be heard
        await news.wait(poll)
    while True:
        try:
            fields = {"operation_id": operation_id, "min_position": news.position}
            operation = _read(await queried(link, tenant_id, "operation", fields))
        except (NotFound, TenantNotFound):
            if not patience:
                raise
            patience -= 1
        except (StaleRead, Unavailable, NoAnswer):
            pass
        else:
            if operation.ended or operation.status == "parked":
                return operation
        await news.wait(poll)
        poll = min(poll * 2, LONGEST_POLL)
