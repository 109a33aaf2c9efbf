"""Opening a connection that comes back by itself, however long it is gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from nats.aio.client import Client

from tenant_domain.refusals import Unauthenticated, Unavailable

log = logging.getLogger("tenants.client")

RECONNECT = 0.25
"""Seconds between attempts to connect again."""


async def connected(url: str | list[str], timeout: float, options: dict[str, Any]) -> Client:
    """Return a connection to one of the servers.

    Raises Unavailable when none answers in `timeout` seconds, and Unauthenticated.
    """
    stranger = asyncio.get_running_loop().create_future()

    async def heard(error: Exception) -> None:
        log.debug("connection: %r", error)
        if "authorization" in str(error).lower() and not stranger.done():
            stranger.set_result(error)

    nc = Client()
    given: dict[str, Any] = {
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT,
        "error_cb": heard,
        **options,
    }
    connecting = asyncio.create_task(nc.connect(url, **given))
    try:
        await asyncio.wait({connecting, stranger}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()
            return nc
    finally:
        if not connecting.done():
            await _given_up(connecting, nc)
    if stranger.done():
        raise Unauthenticated("The NATS server does not know these credentials.")
    raise Unavailable(f"No NATS server answered in {timeout:g} s: is the URL right?")


async def _given_up(connecting: asyncio.Task[None], nc: Client) -> None:
    connecting.cancel()
    await asyncio.wait({connecting})
    await nc.close()
