"""Sending without a turn of the loop between, for what somebody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nats.aio.client import Client


def write_at_once(nc: Client, block: bytes) -> bool:
    """Give a block of protocol to the socket, when it has sent all that it was given before; say whether.

    nats-py leaves that to a task, which comes two turns of the loop later: long, for a reply that somebody
    waits for. A block that is not taken here has to be published.
    """
    writer: asyncio.StreamWriter | None = getattr(getattr(nc, "_transport", None), "_io_writer", None)
    if writer is None or not nc.is_connected or len(block) > nc.max_payload:
        return False
    if writer.transport.get_write_buffer_size() > 0:
        return False
    writer.write(block)
    return True


def request_at_once(nc: Client, subject: str, reply: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Give a request to the socket, behind all that was published before, and say whether it was taken.

    `reply` and `headers` are the caller's own, without line breaks. What is not taken has to be published:
    nats-py says what is wrong with it.
    """
    if nc.pending_data_size > 0 or not subject.isprintable() or " " in subject or len(body) > nc.max_payload:
        return False
    line, head = f"PUB {subject} {reply}", b""
    if headers:
        given = "".join(f"{name}: {value.strip()}\r\n" for name, value in headers.items())
        head = f"NATS/1.0\r\n{given}\r\n".encode()
        line = f"H{line} {len(head)}"
    return write_at_once(nc, b"%b %d\r\n%b%b\r\n" % (line.encode(), len(head) + len(body), head, body))
