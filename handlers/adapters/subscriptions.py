"""Messages handed over in the turn of the loop in which they are read.

nats-py puts them into a queue that a task of each subscription empties. For a command that somebody waits for,
or a hint that only sets a flag, that is one more turn of the loop and 15 µs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

log = structlog.get_logger()

Take = Callable[[Msg], None]


async def subscribed(nc: Client, subject: str, take: Take, *, queue: str = "") -> Subscription:
    """Subscribe `take` to a subject. It is called by the task that reads the connection: it must be short.

    What it raises is logged and ends nothing. Raises nats-py's errors, and TypeError for a nats-py that keeps
    its messages elsewhere.
    """
    subscription = await nc.subscribe(subject, queue=queue, pending_bytes_limit=0)
    former: asyncio.Queue[Msg] | None = getattr(subscription, "_pending_queue", None)
    if former is None:
        raise TypeError("this version of nats-py has no _pending_queue")
    handing = _Handing(take)
    while not former.empty():  # what came before the subscription was ours
        handing.put_nowait(former.get_nowait())
    setattr(subscription, "_pending_queue", handing)  # noqa: B010 - nats-py has no other place for it
    return subscription


class _Handing(asyncio.Queue[Msg]):
    """A queue that is always empty: what is put into it is taken at once."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self._take = take

    def put_nowait(self, item: Msg) -> None:
        """Hand a message over. An exception would end nats-py's reading without a word."""
        try:
            self._take(item)
        except Exception as error:
            log.error("message not taken", subject=item.subject, exc_info=error)
