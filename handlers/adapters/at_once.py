"""Sending without a turn of the loop between, for what somebody waits for."""

from __future__ import annotations

import asyncio

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
