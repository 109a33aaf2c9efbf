"""`events rebuild`: the stream again, with the same ids, positions and bytes; consumers go on."""

from functools import partial
from typing import Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from handlers.adapters import jetstream
from handlers.bus.streams import Limits, recreate_events
from handlers.relay import replacing
from handlers.relay.rebuild import rebuild
from handlers.store.event_store import EventStore
from tests.handlers.relay.relays import a_relay, assert_mirrors, kept, large, limit_messages, reached, running
from tests.support.bus import Bus
from tests.support.log import facts
from tests.support.waiting import PATIENCE


async def rebuilt(bus: Bus, store: EventStore, **settings: Any) -> int:
    recreate = partial(recreate_events, *bus, Limits())
    return await rebuild(
        bus.nc, store, a_relay(bus, store), bus.subjects, bus.streams.events, recreate, **settings
    )


async def consumer_config(bus: Bus, name: str) -> dict[str, Any]:
    info = await jetstream.call(bus.nc, f"CONSUMER.INFO.{bus.streams.events}.{name}")
    return info["config"]


async def fetched(bus: Bus, name: str, count: int) -> list[int]:
    """Fetch and acknowledge messages, and return their sequences."""
    durable = await bus.nc.jetstream(timeout=PATIENCE).pull_subscribe_bind(name, bus.streams.events)
    sequences: list[int] = []
    while len(sequences) < count:
        for message in await durable.fetch(count - len(sequences), timeout=PATIENCE):
            sequences.append(message.metadata.sequence.stream)
            await message.ack_sync(timeout=PATIENCE)
    await durable.unsubscribe()
    return sequences


async def test_ids_positions_and_bytes_stay_while_relays_go_on(bus: Bus, store: EventStore) -> None:
    await store.append(facts(700))
    async with running(a_relay(bus, store, poll=0.05), a_relay(bus, store, poll=0.05)):
        await reached(bus, 700)
        before = await assert_mirrors(bus, store)
        assert await rebuilt(bus, store) == 700
        await store.append(facts(50))
        await reached(bus, 750)
    after = await assert_mirrors(bus, store)
    kept = ("sequence", "subject", "body")
    assert [[getattr(m, k) for k in kept] for m in after[:700]] == [
        [getattr(m, k) for k in kept] for m in before
    ]
    assert [_cloud(m.headers) for m in after[:700]] == [_cloud(m.headers) for m in before]


def _cloud(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith("Nats-Expected")}


async def test_progress_is_told_up_to_the_logs_end(bus: Bus, store: EventStore) -> None:
    await store.append(facts(300))
    told: list[tuple[int, int]] = []

    def progress(position: int, head: int) -> None:
        told.append((position, head))

    await rebuilt(bus, store, progress=progress)
    assert told == sorted(told)
    assert told[-1] == (300, 300)


async def test_a_durable_consumer_goes_on_behind_what_it_acknowledged(bus: Bus, store: EventStore) -> None:
    await store.append(facts(30))
    config = ConsumerConfig(durable_name="billing", ack_policy=AckPolicy.EXPLICIT, ack_wait=70, max_deliver=9)
    async with running(a_relay(bus, store)):
        await reached(bus, 30)
        await bus.nc.jetstream(timeout=PATIENCE).add_consumer(bus.streams.events, config)
        assert await fetched(bus, "billing", 12) == list(range(1, 13))
        before = await consumer_config(bus, "billing")
        await rebuilt(bus, store)
        assert await consumer_config(bus, "billing") == before
        await store.append(facts(5))
        assert await fetched(bus, "billing", 23) == list(range(13, 36))


async def test_a_consumer_that_takes_what_is_new_goes_on_too(bus: Bus, store: EventStore) -> None:
    await store.append(facts(10))
    async with running(a_relay(bus, store, poll=0.05)):
        await reached(bus, 10)
        config = ConsumerConfig(
            durable_name="news", deliver_policy=DeliverPolicy.NEW, ack_policy=AckPolicy.EXPLICIT
        )
        await bus.nc.jetstream(timeout=PATIENCE).add_consumer(bus.streams.events, config)
        await store.append(facts(10))
        assert await fetched(bus, "news", 4) == [11, 12, 13, 14]
        await rebuilt(bus, store)
        assert await fetched(bus, "news", 6) == [15, 16, 17, 18, 19, 20]


async def test_a_filtered_consumer_and_one_that_is_paused_stay_so(bus: Bus, store: EventStore) -> None:
    await store.append(facts(4))
    until = "2999-06-01T00:00:00Z"
    async with running(a_relay(bus, store)):
        await reached(bus, 4)
        js = bus.nc.jetstream(timeout=PATIENCE)
        subject = bus.subjects.event("*", "tenant.profile_updated")
        await js.add_consumer(bus.streams.events, durable_name="some", filter_subject=subject)
        await js.add_consumer(bus.streams.events, durable_name="resting")
        await js.pause_consumer(bus.streams.events, "resting", until)
        await rebuilt(bus, store)
        assert (await consumer_config(bus, "resting"))["pause_until"] == until
        assert (await consumer_config(bus, "some"))["filter_subject"] == subject
        assert await fetched(bus, "some", 4) == [1, 2, 3, 4]


async def test_a_stream_can_begin_later(bus: Bus, store: EventStore) -> None:
    await store.append(facts(40))
    async with running(a_relay(bus, store, poll=0.05)):
        await rebuilt(bus, store, first=31)
        await store.append(facts(5))
        await reached(bus, 45)
    messages = await assert_mirrors(bus, store, first=31)
    assert messages[0].sequence == 31


@pytest.mark.parametrize("first", [0, 12])
async def test_a_beginning_beyond_the_log_is_refused_before_anything_is_deleted(
    bus: Bus, store: EventStore, first: int
) -> None:
    await store.append(facts(10))
    await rebuilt(bus, store)
    with pytest.raises(ValueError, match="positions 1 to 10"):
        await rebuilt(bus, store, first=first)
    await assert_mirrors(bus, store)


async def test_a_stream_that_went_astray_is_healed(bus: Bus, store: EventStore) -> None:
    await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.event("x", "tenant.forged"), b"{}")
    await store.append(facts(10))
    async with running(a_relay(bus, store, poll=0.05)):
        await rebuilt(bus, store)
        await store.append(facts(3))
        await reached(bus, 13)
    await assert_mirrors(bus, store)


async def test_a_rebuild_that_died_loses_no_consumer(bus: Bus, store: EventStore) -> None:
    await store.append(facts(20))
    async with running(a_relay(bus, store)):
        await reached(bus, 20)
    await bus.nc.jetstream(timeout=PATIENCE).add_consumer(
        bus.streams.events, durable_name="audit", ack_policy=AckPolicy.EXPLICIT
    )
    await fetched(bus, "audit", 15)

    async def dies(_first: int) -> None:
        await jetstream.call(bus.nc, f"STREAM.DELETE.{bus.streams.events}")
        raise ConnectionResetError

    relay = a_relay(bus, store)
    with pytest.raises(ConnectionResetError):
        await rebuild(bus.nc, store, relay, bus.subjects, bus.streams.events, dies)
    await rebuilt(bus, store)
    assert await fetched(bus, "audit", 5) == [16, 17, 18, 19, 20]
    assert await jetstream.stream_info(bus.nc, f"{bus.streams.events}_REBUILD") is None


async def test_consumers_of_a_rebuild_that_died_are_put_back_without_another_one(
    bus: Bus, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(facts(20))
    async with running(a_relay(bus, store)):
        await reached(bus, 20)
        js = bus.nc.jetstream(timeout=PATIENCE)
        for name in ("audit", "begun"):
            await js.add_consumer(bus.streams.events, durable_name=name, ack_policy=AckPolicy.EXPLICIT)
        await fetched(bus, "audit", 15)

        async def dies(_first: int) -> None:
            await jetstream.call(bus.nc, f"STREAM.DELETE.{bus.streams.events}")
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await rebuild(bus.nc, store, a_relay(bus, store), bus.subjects, bus.streams.events, dies)
        await reached(bus, 20)  # the relay has made the stream again
        await js.add_consumer(bus.streams.events, durable_name="begun", ack_policy=AckPolicy.EXPLICIT)
        await js.pause_consumer(bus.streams.events, "begun", "2999-01-01T00:00:00Z")  # it died in the middle
        assert not await replacing.finish(bus.nc, bus.streams.events), "it may be under way"
        monkeypatch.setattr(replacing, "ABANDONED", 0.0)
        assert await replacing.finish(bus.nc, bus.streams.events)
        assert await fetched(bus, "audit", 5) == [16, 17, 18, 19, 20]
        assert "pause_until" not in await consumer_config(bus, "begun")
        assert not await replacing.finish(bus.nc, bus.streams.events)


async def test_settings_of_the_stream_that_the_service_does_not_know_stay(
    bus: Bus, store: EventStore
) -> None:
    name = bus.streams.events
    info = await jetstream.call(bus.nc, f"STREAM.INFO.{name}")
    await jetstream.call(bus.nc, f"STREAM.UPDATE.{name}", {**info["config"], "description": "ours"})
    await store.append(facts(1))
    await rebuilt(bus, store)
    info = await jetstream.call(bus.nc, f"STREAM.INFO.{name}")
    assert info["config"]["description"] == "ours"
    assert info["config"]["persist_mode"] == "async"


async def test_what_stood_there_without_its_content_is_whole_when_the_servers_carry_more(
    bus: Bus, store: EventStore, store_url: str
) -> None:
    await limit_messages(bus, 20_000)
    await store.append(large(30_000))
    await store.append(facts(1))
    async with running(a_relay(bus, store, poll=0.05, takeover=0.05)):
        await reached(bus, 2)
    assert [position for position, _ in await kept(store_url)] == [1]
    await limit_messages(bus, -1)
    await rebuilt(bus, store)
    await assert_mirrors(bus, store)
    assert await kept(store_url) == []
