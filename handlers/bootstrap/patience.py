"""Waiting for a server at the start: what is waited for is said from the first second on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import nats.errors
import psycopg
import structlog

from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.tasks import end
from handlers.store.errors import StoreError, is_away
from tenant_domain.refusals import Unauthenticated, Unavailable

log = structlog.get_logger()

AWAY = (
    psycopg.OperationalError,
    nats.errors.Error,
    OSError,
    TimeoutError,
    JetStreamError,
    StoreError,
    Unavailable,
    Unauthenticated,
)
"""What may pass by itself. A wrong password is among it: it may be changed on the server meanwhile."""

FIRST_TOLD = 0.5
TOLD_EVERY = 10.0
"""Seconds after which it is said what is waited for, and between two times."""

LONGEST_PAUSE = 2.0
"""Seconds between two tries to reach a server at the start."""


async def patiently(what: str, where: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work`, again and again while its server is away; `where` is the server, without credentials."""
    pause = 0.1
    async with _told(what, where):
        while True:
            try:
                await work()
                return
            except Exception as error:
                if not isinstance(error, AWAY) and not is_away(error):
                    raise
                why = " ".join(str(error).split()) or type(error).__name__
                log.warning("a server is away, trying again", waiting_for=what, server=where, why=why)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


@asynccontextmanager
async def _told(what: str, where: str) -> AsyncGenerator[None]:
    telling = asyncio.create_task(_tell(what, where))
    try:
        yield
    finally:
        await end(telling)


async def _tell(what: str, where: str) -> None:
    waited = FIRST_TOLD
    while True:
        await asyncio.sleep(min(waited, TOLD_EVERY))
        log.warning("waiting", waiting_for=what, server=where, seconds=round(waited, 1))
        waited += min(waited, TOLD_EVERY)
