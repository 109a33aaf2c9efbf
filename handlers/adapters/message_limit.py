"""How many bytes a message may have, as the servers say now: the connection's own, and the stream's."""

from __future__ import annotations

from nats.aio.client import Client

from handlers.adapters import jetstream


class MessageLimit:
    """The bytes that a message of `stream` may have; call it.

    The server says its `max_payload` with each connection. The stream may have a limit of its own, which is
    known after a `look`.
    """

    def __init__(self, nc: Client, stream: str) -> None:
        self._nc = nc
        self._stream = stream
        self._of_stream: int | None = None

    def __call__(self) -> int:
        """Return the bytes that a message may have."""
        payload = self._nc.max_payload
        return payload if self._of_stream is None else min(payload, self._of_stream)

    async def look(self) -> None:
        """Ask for the stream's own limit. Raises JetStreamError, and nats-py's errors."""
        info = await jetstream.stream_info(self._nc, self._stream)
        size = -1 if info is None else info["config"].get("max_msg_size", -1)
        self._of_stream = size if size > 0 else None
