"""How many bytes a message has that carries what is stored."""

from __future__ import annotations

import msgspec

from handlers.wire.events import Meta

AROUND = 1024
"""Bytes at most of what stands around an event's own fields and its `meta`: the headers that every event has,
and those that fence its publishing."""

_encode = msgspec.json.Encoder().encode


def published(state: bytes, meta: Meta) -> int:
    """Return how many bytes at most the message of a stored body has.

    What came with the command stands in headers, where a byte may be written as three.
    """
    return len(state) + 2 * len(_encode(meta)) + AROUND
