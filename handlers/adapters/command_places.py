"""Up to where each partition of TENANT_COMMANDS is decided, and whether that is true of the stream as it is.

A sequence alone does not say so: a stream that is put back to an earlier state (a restored copy, a power cut)
gives the same numbers to other messages. So a place also says when its stream was made, and when the message
at its sequence was stored, in nanoseconds, which no other message has.
"""

from __future__ import annotations

from typing import NamedTuple

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json

PLACES = """
SELECT partition, sequence, stream, CASE WHEN mark_sequence = sequence THEN mark_stored_at END
FROM service.command_progress"""
"""A row for each partition: its number and its place."""


class Place(NamedTuple):
    """Up to which sequence a partition is decided, in the stream that was made at `stream` (None: any).

    `stored_at` is when the message at that sequence was stored (ns); None where nobody has noted it.
    """

    sequence: int
    stream: str | None
    stored_at: int | None = None


class Found(NamedTuple):
    """What the stream says of a place: why it is `wrong`, or None; and when its message was stored."""

    wrong: str | None
    stored_at: int | None


async def compared(nc: Client, info: Json, subject: str, place: Place) -> Found:
    """Look whether a partition's place holds in the stream that `info` tells of.

    `subject` is what the partition's messages are stored under. A message that is not there any more was
    purged, or deleted, after it was decided: a sequence that is given anew has a message.
    Raises JetStreamError, and nats-py's errors.
    """
    made, state = info["created"], info["state"]
    if place.stream is not None and place.stream != made:
        return Found(f"it was made anew, at {made}", None)
    if place.sequence > state["last_seq"]:
        return Found(f"it ends before, at {state['last_seq']}", None)
    if place.sequence < max(1, state["first_seq"]):
        return Found(None, place.stored_at)
    there = await jetstream.message(nc, info["config"]["name"], place.sequence)
    if there is None:
        return Found(None, place.stored_at)
    if not there.subject.startswith(subject.removesuffix(">")):
        return Found("another partition's message stands there now", None)
    if place.stored_at not in (None, there.stored_at):
        return Found(f"another message stands there now, of {there.time.isoformat()}", None)
    return Found(None, there.stored_at)
