"""Keys that the bucket of the live context lacks, or has too many: neither shows at its end.

A purge takes keys away and moves no sequence; tenants whose birth a failover lost leave theirs behind.
"""

from __future__ import annotations

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.store.event_store import EventStore, Latest
from handlers.wire.subjects import Streams
from projections.context import FACTS


async def lacking(nc: Client, store: EventStore, streams: Streams, position: int) -> list[Latest]:
    """Return the last facts, up to `position`, of tenants without a key, in the order of their positions.

    Behind them stands the very last fact of all, so that the bucket's last entry goes on to say up to where
    the log is in it. Where the number of keys is right this is two look-ups, and nothing is returned.
    Raises JetStreamError, StoreError, and nats-py's errors.
    """
    info = await jetstream.stream_info(nc, streams.context_stream)
    if info is None or info["state"].get("num_subjects", 0) >= await store.tenants_born(position):
        return []
    keys = await jetstream.subjects_of(nc, streams.context_stream)
    facts = await store.latest(FACTS, 0, position)
    gone = [fact for fact in facts if streams.context_subject(str(fact.tenant_id)) not in keys]
    return [*gone, facts[-1]] if gone and gone[-1] != facts[-1] else gone


async def surplus(nc: Client, store: EventStore, streams: Streams, position: int) -> list[str]:
    """Return the subjects of keys of tenants that the log, up to `position`, has no fact of.

    Raises as `lacking` does.
    """
    info = await jetstream.stream_info(nc, streams.context_stream)
    if info is None or info["state"].get("num_subjects", 0) <= await store.tenants_born(position):
        return []
    keys = await jetstream.subjects_of(nc, streams.context_stream)
    facts = await store.latest(FACTS, 0, position)
    return sorted(keys - {streams.context_subject(str(fact.tenant_id)) for fact in facts})
