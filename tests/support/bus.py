"""Names of a test's own on the shared nats-server, and what is read from its streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import NamedTuple

import nats
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import StreamMessage
from handlers.wire.subjects import Streams, Subjects


class Bus(NamedTuple):
    """A connection, with subjects and streams that no other test uses."""

    nc: Client
    subjects: Subjects
    streams: Streams


def own_names() -> tuple[Subjects, Streams]:
    """Return subjects and streams that no other test uses."""
    own = token_hex(6)
    return Subjects(f"t{own}"), Streams(*(f"{name}_{own}" for name in Streams()))


@asynccontextmanager
async def own_bus(url: str) -> AsyncGenerator[Bus]:
    """Connect under names of one's own; its streams are deleted afterwards."""
    subjects, streams = own_names()
    nc = await nats.connect(url, reconnect_time_wait=0.05)  # pyright: ignore[reportArgumentType] - seconds
    try:
        yield Bus(nc, subjects, streams)
    finally:
        for stream in (*streams, streams.context_stream):
            if await jetstream.stream_info(nc, stream):
                await jetstream.call(nc, f"STREAM.DELETE.{stream}")
        await nc.close()


async def messages_of(nc: Client, stream: str) -> list[StreamMessage]:
    """Return all messages of a stream, oldest first."""
    found: list[StreamMessage] = []
    while message := await jetstream.message(nc, stream, found[-1].sequence + 1 if found else 1, ">"):
        found.append(message)
    return found
