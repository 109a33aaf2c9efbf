"""What nats-py needs help with.

One caller's odd bytes must not end our connection. The server passes on subjects that are no UTF-8, and
header blocks that are no headers. nats-py reads both in the task that reads the connection, and an exception
there ends that task without a word: no message would ever arrive again. Here such a subject is read with
its odd bytes escaped, such headers as none, and the message is refused like any other that does not fit.
The late answer to a flush that nobody waits for any more would end that task, too: it is passed over.
A cancellation that comes while nats-py flushes is lost in it, and with it the end of whoever was told to end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from handlers.wire.headers import Received

Headers = dict[str, str]
_MARK = "_hardened"
_PLAIN = b"NATS/1.0\r\n"
"""How a block begins that has headers and no status."""


def harden(nc: Client) -> None:
    """Make a connection read whatever the server passes on; a second call changes nothing."""
    if getattr(nc, _MARK, False):
        return
    headers_of: Callable[[bytes | None], Awaitable[Headers | None]] = getattr(nc, "_process_headers")  # noqa: B009

    async def process_headers(block: bytes | None) -> Headers | None:
        if block is not None and block.startswith(_PLAIN):
            return _headers(block)
        try:
            return await headers_of(block)
        except (ValueError, IndexError):
            return None

    def build_message(sid: int, subject: bytes, reply: bytes, data: bytes, headers: Headers | None) -> Msg:
        return nc.msg_class(
            subject=_text(subject), reply=_text(reply), data=data, headers=headers, _client=nc, _sid=sid
        )

    pong: Callable[[], Awaitable[None]] = getattr(nc, "_process_pong")  # noqa: B009

    async def process_pong() -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            await pong()
        nc._pings_outstanding = 0  # pyright: ignore[reportPrivateUsage] - the server lives

    for name, method in (
        ("_flush_pending", _keeping(getattr(nc, "_flush_pending", None))),
        ("_process_headers", process_headers),
        ("_build_message", build_message),
        ("_process_pong", process_pong),
    ):
        if not callable(getattr(nc, name, None)):
            raise TypeError(f"this version of nats-py has no {name}")
        setattr(nc, name, method)
    setattr(nc, _MARK, True)


def _keeping(flush_pending: Any) -> Callable[[bool], Awaitable[Any]]:
    async def keep_cancellation(force_flush: bool = False) -> Any:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        flushed = await flush_pending(force_flush)
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        return flushed

    return keep_cancellation


async def flush(nc: Client) -> None:
    """Return when the server knows all that was sent, subscriptions above all.

    nats-py's own flush overtakes commands that it has not sent yet; they are sent while it waits, so the
    second one comes after them. Raises nats-py's errors.
    """
    await nc.flush()
    await nc.flush()


async def publish(nc: Client, subject: str, body: bytes, headers: Headers) -> None:
    """Publish, and return once the server has the message. Raises nats-py's errors.

    nats-py's own publish returns while the message is with the client, where it is lost with the process.
    """
    await nc.publish(subject, body, headers=headers)
    await flush(nc)


def _headers(block: bytes) -> Headers | None:
    """Return the headers of a plain block; nats-py's own way costs several times more."""
    headers = Received()
    for line in block[len(_PLAIN) :].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            if name in headers:
                headers.repeated |= {name}
            headers[name] = value.strip()
    return headers or None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
