"""Relays for tests, and what must be true of the stream that they fill.

`python -m tests.handlers.relay.relays NATS POSTGRES PREFIX STREAM…` is a relay in a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import nats
import psycopg
from nats.aio.client import Client
from nats.errors import Error as NatsError
from prometheus_client import CollectorRegistry

from handlers.adapters import jetstream
from handlers.adapters.jetstream import StreamMessage
from handlers.adapters.tasks import end
from handlers.bus.streams import Limits, declare
from handlers.relay.cloud_events import event_id
from handlers.relay.context import ContextRelay
from handlers.relay.events import EventRelay
from handlers.relay.metrics import RelayMetrics
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore, StoredEvent
from handlers.wire.events import Meta, encoded, opened
from handlers.wire.subjects import Streams, Subjects
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.bus import Bus, messages_of
from tests.support.log import events_of
from tests.support.waiting import until


def a_relay(bus: Bus, store: EventStore, **settings: Any) -> EventRelay:
    """Return a relay on the bus's streams, to be run."""
    making = partial(declare, *bus, Limits())
    metrics = RelayMetrics(settings.pop("registry", None) or CollectorRegistry())
    return EventRelay(bus.nc, store, bus.subjects, bus.streams.events, making, metrics=metrics, **settings)


@asynccontextmanager
async def running(*relays: EventRelay | ContextRelay) -> AsyncGenerator[None]:
    """Run relays while inside."""
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        await end(*tasks)


async def reached(bus: Bus, sequence: int) -> None:
    """Wait until the stream of events has got to `sequence`."""

    async def far_enough() -> bool:
        return await last_sequence(bus) >= sequence

    await until(far_enough)


async def last_sequence(bus: Bus) -> int:
    """Return the last sequence of the stream of events; 0 when there is none or nobody answers."""
    try:
        info = await jetstream.stream_info(bus.nc, bus.streams.events)
    except (NatsError, jetstream.JetStreamError):
        return 0
    return info["state"]["last_seq"] if info else 0


async def assert_mirrors(bus: Bus, store: EventStore, first: int = 1) -> list[StreamMessage]:
    """Hold the stream against the log: every event once, at its position, with its id, subject and body."""
    log = [event for event in await events_of(store) if event.position >= first]
    messages = await messages_of(bus.nc, bus.streams.events)
    assert [told(message) for message in messages] == [expected(bus, event) for event in log]
    return messages


def told(message: StreamMessage) -> tuple[object, ...]:
    return message.sequence, message.headers.get("Nats-Msg-Id"), message.subject, message.body


def expected(bus: Bus, event: StoredEvent) -> tuple[object, ...]:
    subject = bus.subjects.event(event.tenant_id, event.topic)
    return event.position, event_id(event), subject, bytes(opened(event.state).data)


def large(size: int, tenant: UUID | None = None, meta: Meta | None = None) -> Batch:
    """Return a batch of one event of so many bytes."""
    tenant = tenant or uuid4()
    body = encoded(ProfileUpdated(tenant_name="x" * size), meta or Meta())
    return Batch(events=[EventRow(tenant, tenant, 1, ProfileUpdated.name, body, 0)])


async def limit_messages(bus: Bus, size: int) -> None:
    """Let the stream of events take messages of so many bytes at most."""
    info = await jetstream.stream_info(bus.nc, bus.streams.events)
    assert info is not None
    await jetstream.call(
        bus.nc, f"STREAM.UPDATE.{bus.streams.events}", info["config"] | {"max_msg_size": size}
    )


async def kept(store_url: str) -> list[tuple[Any, ...]]:
    """Return position and reason of what was kept as claimed."""
    async with await psycopg.AsyncConnection.connect(store_url) as connection:
        cursor = await connection.execute(
            "SELECT position, reason FROM service.claim_checks ORDER BY position"
        )
        return await cursor.fetchall()


async def _main(nats_url: str, postgres_url: str, prefix: str, *streams: str) -> None:
    nc: Client = await nats.connect(nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    bus = Bus(nc, Subjects(prefix), Streams(*streams))
    async with EventStore(postgres_url) as store:
        print("ready", flush=True)
        await a_relay(bus, store, poll=0.2, takeover=0.1).run()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
