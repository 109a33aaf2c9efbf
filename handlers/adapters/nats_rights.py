"""What a NATS user may not do: the server says it beside the request, which then has no answer."""

from __future__ import annotations

import asyncio
import re

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, TimeoutError

_LOOK = 0.1
"""Seconds between two looks whether the server has refused what is waited for."""

_ANSWERS = ".*"
"""How the subject ends that nats-py subscribes to once, for the answers to all requests."""

_VIOLATION = re.compile(r'permissions violation for (publish|subscription)[^"]*"([^"]*)"', re.IGNORECASE)


class NotPermitted(Error):
    """The NATS user may not publish or subscribe to a subject that the service needs."""


def refusal(nc: Client) -> NotPermitted | None:
    """Return what the server has refused last on this connection, if it was for the lack of a right."""
    found = _VIOLATION.search(str(nc.last_error))
    if found is None:
        return None
    verb = "publish to" if found[1].lower() == "publish" else "subscribe to"
    return NotPermitted(f"the NATS user has no permission to {verb} {found[2]}")


async def request(nc: Client, subject: str, body: bytes, within: float) -> Msg:
    """Return the answer to a request, `within` seconds.

    Raises NotPermitted as soon as the server says so, and otherwise nats-py's errors.
    """
    before = nc.last_error
    if (refused := _refused(nc, _ANSWERS)) is not None:
        raise refused
    asking = asyncio.create_task(nc.request(subject, body, timeout=within))
    try:
        while not asking.done():
            await asyncio.wait({asking}, timeout=_LOOK)
            if nc.last_error is not before and (refused := _refused(nc, subject)) and not asking.done():
                raise refused
        return asking.result()
    except TimeoutError as error:
        raise _refused(nc, subject) or error from None
    finally:
        asking.cancel()


def _refused(nc: Client, subject: str) -> NotPermitted | None:
    """Return what was refused of a request: its subject, or the subscription to answers."""
    refused = refusal(nc)
    ours = refused is not None and str(refused).lower().endswith((subject.lower(), _ANSWERS))
    return refused if ours else None
