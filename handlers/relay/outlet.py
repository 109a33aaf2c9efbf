"""Publishing into a stream in runs: pipelined, fenced, and with one acknowledgement for each run.

Every message says which sequence it expects before it (its own position less one), and every message of a run but the
first which id. So a message is stored only right behind its predecessor, and an acknowledged one vouches for all
before it: the others ask for no acknowledgement, which halves the work of both sides. The id is what keeps out a
stranger's message: it would take a sequence, and without the id the next of ours would fit behind it.

nats-py's `publish` takes 20 µs a message, most of it for headers that are checked and joined one by one; a
run as one block of protocol takes 3 µs. That is why the block is handed to the connection's own sending function.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from handlers.relay.cloud_events import Message
from handlers.wire import headers as names

BLOCK = 512 * 1024
"""Bytes handed to the connection at once: enough to be cheap, too little to be felt by others on it."""

GLANCE = 0.25
"""Seconds between two looks whether the connection that an acknowledgement would come on is still there."""


class NotStored(Exception):
    """A run was not acknowledged: refused, or lost with the connection, or too late. It may be stored all the same."""


class OutOfPlace(NotStored):
    """The stream does not end where the run begins: somebody else has published, or the stream was cut back."""


class TooLarge(Exception):
    """A message is larger than the server takes."""


OUT_OF_PLACE = frozenset((10070, 10071))
"""JetStream's codes for another last id or sequence than the expected one."""


class Outlet:
    """Publishes runs of messages, over one connection. `open` it first; `close` it at the end."""

    def __init__(self, nc: Client, patience: float) -> None:
        self._nc = nc
        self._patience = patience
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._inbox = ""

    async def open(self) -> None:
        """Listen for acknowledgements."""
        self._inbox = self._nc.new_inbox()
        self._subscription = await self._nc.subscribe(f"{self._inbox}.*", cb=self._received)

    async def close(self) -> None:
        """Listen no more."""
        if not self._nc.is_closed:
            await self._subscription.unsubscribe()

    async def _received(self, ack: Msg) -> None:
        waiting = self._waiting.pop(ack.subject.rpartition(".")[2], None)
        if waiting is not None and not waiting.done():
            no_responders = (ack.headers or {}).get("Status") == "503"
            waiting.set_result(b"" if no_responders else ack.data)

    async def send(self, run: Sequence[Message]) -> Run:
        """Publish consecutive messages. Raises NotStored without a connection, TooLarge for a message no server takes."""
        if not self._nc.is_connected:
            raise NotStored("not connected")
        ...
