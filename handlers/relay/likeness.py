"""Whether the stream of events holds what the log has: identities are compared, not numbers.

An event's id follows from its stream, version and time (handlers/relay/cloud_events.py), and the stream keeps
it as the message's id. Each message was stored only right behind its predecessor, so the last one mostly
speaks for all. A stranger's message, or events that a failover lost, stand at the end first: whatever
differs, differs from some position on, which is found by halves. What limits have cut off counts as the same.
What was purged, or cut off by a limit that is gone, counts as lost: the log has it.
"""

from __future__ import annotations

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.relay.cloud_events import event_id
from handlers.store.event_store import EventStore
from handlers.wire.headers import MSG_ID


async def differs_at(nc: Client, store: EventStore, stream: str, sequence: int) -> bool:
    """Return whether `sequence` holds what the log has not there. Raises JetStreamError, StoreError."""
    if sequence < 1:
        return False
    event = await store.read(sequence - 1, 1)
    if not event or event[0].position != sequence:
        return True
    there = await jetstream.message(nc, stream, sequence)
    return there is not None and there.headers.get(MSG_ID) != event_id(event[0])


def beginning(info: Json) -> int:
    """Return the position that a stream should begin at: where it was made to, unless it has limits."""
    config = info["config"]
    if config.get("max_age", 0) > 0 or any(config.get(each, -1) > 0 for each in ("max_bytes", "max_msgs")):
        return info["state"]["first_seq"]
    return max(1, config.get("first_seq", 1))


def is_cut(info: Json) -> bool:
    """Return whether a stream has lost its first messages although nothing that it is set to takes them."""
    return info["state"]["last_seq"] > 0 and info["state"]["first_seq"] > beginning(info)


async def first_difference(
    nc: Client, store: EventStore, stream: str, info: Json, *, thorough: bool = False
) -> int | None:
    """Return the first position at which the stream holds another message than the log has; None for none.

    The last one is looked at; when `thorough`, also those 1, 2, 4, 8 … before it. Raises as `differs_at`.
    """
    first, last = info["state"]["first_seq"], info["state"]["last_seq"]
    for back in _steps(last - first if thorough else 0):
        if await differs_at(nc, store, stream, last - back):
            return await _by_halves(nc, store, stream, first - 1, last - back)
    return None


async def _by_halves(nc: Client, store: EventStore, stream: str, same: int, other: int) -> int:
    """Return the first position that differs: behind `same`, which does not, up to `other`, which does."""
    while other - same > 1:
        middle = (same + other) // 2
        if await differs_at(nc, store, stream, middle):
            other = middle
        else:
            same = middle
    return other


def _steps(most: int) -> list[int]:
    return [0, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)]
