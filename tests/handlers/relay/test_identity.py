"""A stream that holds something else than its log: whose word holds, and that nobody waits for it."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import pytest
from nats.js.api import AckPolicy, ConsumerConfig
from prometheus_client import CollectorRegistry

from handlers.adapters import jetstream
from handlers.bus.marks import ForeignStreams, adopt, mark_of, settle
from handlers.bus.streams import Limits, definitions, recreate_events
from handlers.relay.events import EventRelay
from handlers.relay.likeness import first_difference
from handlers.store.event_store import EventStore
from handlers.store.identity import LogIdentity
from tests.handlers.relay.relays import a_relay, assert_mirrors, last_sequence, reached, running
from tests.support.bus import Bus
from tests.support.log import facts
from tests.support.waiting import PATIENCE, until


def mending(bus: Bus, store: EventStore, registry: CollectorRegistry | None = None) -> EventRelay:
    """Return a relay that may make the stream anew."""
    recreate = partial(recreate_events, *bus, Limits())
    return a_relay(bus, store, poll=0.05, takeover=0.05, recreate=recreate, registry=registry)


async def settled(bus: Bus, store: EventStore, identity: LogIdentity | None = None) -> None:
    """Mark the streams as those of the log, or of `identity`."""
    names = definitions(bus.subjects, bus.streams, Limits())

    async def holds(info: jetstream.Json) -> bool:
        found = await first_difference(bus.nc, store, bus.streams.events, info, thorough=True)
        return found is None

    await settle(bus.nc, bus.streams.events, names, identity or await store.identity(), holds)


async def mark(bus: Bus) -> LogIdentity | None:
    info = await jetstream.call(bus.nc, f"STREAM.INFO.{bus.streams.events}")
    return mark_of(info)


async def forged(bus: Bus) -> None:
    await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.event(uuid4(), "tenant.suspended"), b"{}")


async def lose(store: EventStore, after: int) -> None:
    """Lose the commits behind a position, as a failover does, and be another incarnation."""
    async with store.transaction() as transaction:
        lost = "DELETE FROM service.events WHERE notification_id > %s"
        await transaction.connection.execute(lost, (after,))
    store.incarnation.met("as after a failover")


async def test_a_strangers_message_is_removed_also_while_nobody_commits(bus: Bus, store: EventStore) -> None:
    await store.append(facts(20))
    await settled(bus, store)
    registry = CollectorRegistry()
    async with running(mending(bus, store, registry)):
        await reached(bus, 20)
        await forged(bus)

        async def mended() -> bool:
            made = registry.get_sample_value("tenants_relay_rebuilds_total")
            return made == 1 and await last_sequence(bus) == 20

        await until(mended)
        await assert_mirrors(bus, store)
    assert registry.get_sample_value("tenants_relay_astray") == 0
    assert await mark(bus) == await store.identity()


async def test_a_strangers_message_in_an_events_place_is_noticed_by_relays_that_stand_by(
    bus: Bus, store: EventStore
) -> None:
    # Given two relays, and a message that takes the place of the next event
    await store.append(facts(20))
    await settled(bus, store)
    async with running(mending(bus, store), mending(bus, store)):
        await reached(bus, 20)
        await forged(bus)
        await store.append(facts(1))

        # When nothing else is committed
        async def mirrored() -> bool:
            info = await jetstream.stream_info(bus.nc, bus.streams.events)
            if info is None or info["state"]["last_seq"] < 21:
                return False
            return await first_difference(bus.nc, store, bus.streams.events, info) is None

        await until(mirrored)
    # Then the stream holds the event; had both begun to make it anew, one goes on where the other ended
    async with running(mending(bus, store)):
        await until(mirrored)
    await assert_mirrors(bus, store)


async def test_events_that_a_failover_lost_make_way_and_consumers_see_what_is_there_now(
    bus: Bus, store: EventStore
) -> None:
    # Given a consumer that has seen all events, of which the last are lost
    await store.append(facts(30))
    await settled(bus, store)
    stream = bus.streams.events
    async with running(mending(bus, store)):
        await reached(bus, 30)
        config = ConsumerConfig(durable_name="seen", ack_policy=AckPolicy.EXPLICIT)
        await bus.nc.jetstream(timeout=PATIENCE).add_consumer(stream, config)
        durable = await bus.nc.jetstream(timeout=PATIENCE).pull_subscribe_bind("seen", stream)
        for message in await durable.fetch(30, timeout=PATIENCE):
            await message.ack_sync(timeout=PATIENCE)
        await lose(store, after=12)
        # When others take their positions
        await store.append(facts(25))

        async def mirrored() -> bool:
            info = await jetstream.stream_info(bus.nc, stream)
            if info is None or info["state"]["last_seq"] != 37:
                return False
            return await first_difference(bus.nc, store, stream, info, thorough=True) is None

        await until(mirrored)
        # Then the stream holds them, and the consumer goes on with the first of them
        await assert_mirrors(bus, store)
        (next_one,) = await durable.fetch(1, timeout=PATIENCE)
        assert next_one.metadata.sequence.stream == 13
    # And a dead letter tells of it until somebody dismisses it
    async with store.transaction() as transaction:
        told = "SELECT reason, stream, sequence, error FROM service.dead_letters"
        [(reason, where, position, error)] = await (await transaction.connection.execute(told)).fetchall()
    assert (reason, where, position) == ("not-in-log", stream, 13)
    assert "positions 13 to 30" in error


async def test_events_that_were_purged_come_back_and_consumers_go_on_where_they_were(
    bus: Bus, store: EventStore
) -> None:
    await store.append(facts(30))
    await settled(bus, store)
    stream = bus.streams.events
    async with running(mending(bus, store)):
        await reached(bus, 30)
        config = ConsumerConfig(durable_name="halfway", ack_policy=AckPolicy.EXPLICIT)
        await bus.nc.jetstream(timeout=PATIENCE).add_consumer(stream, config)
        durable = await bus.nc.jetstream(timeout=PATIENCE).pull_subscribe_bind("halfway", stream)
        for message in await durable.fetch(20, timeout=PATIENCE):
            await message.ack_sync(timeout=PATIENCE)
        await jetstream.call(bus.nc, f"STREAM.PURGE.{stream}", {"seq": 11})

        async def whole() -> bool:
            info = await jetstream.stream_info(bus.nc, stream)
            return info is not None and info["state"]["messages"] == 30

        await until(whole)
        await assert_mirrors(bus, store)
        (next_one,) = await durable.fetch(1, timeout=PATIENCE)
        assert next_one.metadata.sequence.stream == 21


async def test_a_stream_that_begins_late_because_it_was_made_so_is_whole(bus: Bus, store: EventStore) -> None:
    await store.append(facts(30))
    await recreate_events(*bus, Limits(), first=21)
    await settled(bus, store)
    registry = CollectorRegistry()
    async with running(mending(bus, store, registry)):
        await reached(bus, 30)
        await store.append(facts(5))
        await reached(bus, 35)
    assert registry.get_sample_value("tenants_relay_rebuilds_total") == 0


@pytest.mark.parametrize(("log", "system", "timeline"), [("another", 0, 0), ("", 1, 0), ("", 0, 1)])
async def test_a_stream_of_another_line_is_left_alone(
    bus: Bus, store: EventStore, log: str, system: int, timeline: int
) -> None:
    # Given streams of another log, of a copy of this one on another server, or of a later timeline of it
    own = await store.identity()
    assert own.system > 0
    await store.append(facts(2))
    async with running(a_relay(bus, store, poll=0.05)):
        await reached(bus, 2)
    await forged(bus)
    other = LogIdentity(log or own.log, own.system + system, own.timeline + timeline)
    await adopt(bus.nc, definitions(bus.subjects, bus.streams, Limits()), other)
    registry = CollectorRegistry()
    # When a relay of this log comes
    async with running(mending(bus, store, registry)):

        async def told() -> bool:
            return registry.get_sample_value("tenants_relay_astray") == 1

        await until(told)
        # Then it says so, and leaves all as it is
        assert await last_sequence(bus) == 3
        assert registry.get_sample_value("tenants_relay_rebuilds_total") == 0
    # And no process starts with them
    with pytest.raises(ForeignStreams, match="TENANTS_POSTGRES_URL"):
        await settled(bus, store)


async def test_streams_without_a_mark_are_adopted_where_they_hold_what_the_log_has(
    bus: Bus, store: EventStore
) -> None:
    await store.append(facts(5))
    async with running(a_relay(bus, store, poll=0.05)):
        await reached(bus, 5)
    assert await mark(bus) is None
    await settled(bus, store)
    assert await mark(bus) == await store.identity()


async def test_streams_without_a_mark_that_hold_something_else_are_refused(
    bus: Bus, store: EventStore
) -> None:
    await forged(bus)
    with pytest.raises(ForeignStreams, match="carries no mark"):
        await settled(bus, store)
    assert await mark(bus) is None
