"""Opening a connection that comes back by itself, however long it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client

from handlers.client.arguments import servers_of
from tenant_domain.refusals import Unauthenticated, Unavailable

log = logging.getLogger("tenants.client")

RECONNECT = 0.25
"""Seconds between attempts to connect again."""


async def connected(url: str | list[str], timeout: float, options: dict[str, Any]) -> Client:
    """Return a connection to one of the servers; a text may name several, with commas between them.

    Raises Unavailable when none answers in `timeout` seconds, Unauthenticated, and InvalidArgument at once.
    """
    servers = servers_of(url)
    stranger = asyncio.get_running_loop().create_future()

    async def heard(error: Exception) -> None:
        log.debug("connection: %r", error)
        if "authorization" in str(error).lower() and not stranger.done():
            stranger.set_result(error)

    nc = Client()
    recognise(nc)
    given: dict[str, Any] = {
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT,
        "error_cb": heard,
        **options,
    }
    connecting = asyncio.create_task(nc.connect(servers, **given))
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


def recognise(nc: Client) -> None:
    """Have a connection use its credentials also at servers that it learns of from others.

    nats-py offers those of a server's own URL, and what a cluster tells of its other servers has none: they
    would refuse it for ever, and where the listed ones are gone it would never come back.
    """
    plain: Callable[[], bytes] = getattr(nc, "_connect_command")  # noqa: B009

    def command() -> bytes:
        present = getattr(nc, "_current_server", None)
        pool: list[Any] = getattr(nc, "_server_pool", [])
        listed = next((server.uri for server in pool if server.uri.username is not None), None)
        if present is None or present.uri.username is not None or listed is None or _has_own(nc.options):
            return plain()
        given = {"token": listed.username} if listed.password is None else {}
        former = dict(nc.options)
        nc.options.update({"user": listed.username, "password": listed.password, **given})
        try:
            return plain()
        finally:
            nc.options.update(former)

    setattr(nc, "_connect_command", command)  # noqa: B010


def _has_own(options: dict[str, Any]) -> bool:
    return options.get("user") is not None or options.get("token") is not None


async def _given_up(connecting: asyncio.Task[None], nc: Client) -> None:
    connecting.cancel()
    await asyncio.wait({connecting})
    await nc.close()
