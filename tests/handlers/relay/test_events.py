"""Committed events stand in TENANT_EVENTS once, in commit order, at the sequence of their position."""

import asyncio
import json
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from handlers.adapters import jetstream
from handlers.bus.streams import Limits, recreate_events
from handlers.relay import outlet
from handlers.relay.cloud_events import Message, message
from handlers.relay.outlet import Outlet, OutOfPlace
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta
from tests.handlers.relay.relays import a_relay, assert_mirrors, last_sequence, reached, running
from tests.support.bus import Bus, messages_of
from tests.support.log import events_of, facts
from tests.support.snapshots import copied, put_back
from tests.support.waiting import PATIENCE, until


async def test_an_event_is_a_cloud_event_in_binary_mode(bus: Bus, store: EventStore) -> None:
    tenant = uuid4()
    meta = Meta(actor="svc-billing", correlation_id="c-1", causation_id="c-0", traceparent="00-aa-bb-01")
    await store.append(facts(1, tenant=tenant, meta=meta))
    [committed] = await store.read(0, 1)
    async with running(a_relay(bus, store)):
        await reached(bus, 1)
    [event] = await messages_of(bus.nc, bus.streams.events)
    assert event.subject == f"{bus.subjects.prefix}.events.{tenant}.tenant.profile_updated"
    assert json.loads(event.body) == {"name": "Acme 1"}
    headers = dict(event.headers)
    assert str(UUID(headers["ce-id"])) == headers["ce-id"] == headers.pop("Nats-Msg-Id")
    time = datetime.fromisoformat(headers.pop("ce-time"))
    assert time.astimezone(UTC) == committed.recorded_at
    assert headers.pop("ce-id")
    assert headers == {
        "Nats-Expected-Last-Sequence": "0",
        "ce-specversion": "1.0",
        "ce-source": f"/{bus.subjects.prefix}",
        "ce-type": "tenant.profile_updated",
        "ce-subject": str(tenant),
        "ce-datacontenttype": "application/json",
        "ce-position": "1",
        "ce-streamversion": "1",
        "ce-schemaversion": "2",
        "ce-correlationid": "c-1",
        "ce-causationid": "c-0",
        "ce-actor": "svc-billing",
        "ce-traceparent": "00-aa-bb-01",
        "traceparent": "00-aa-bb-01",
    }


async def test_what_did_not_come_with_a_command_is_left_out(bus: Bus, store: EventStore) -> None:
    await store.append(facts(1))
    async with running(a_relay(bus, store)):
        await reached(bus, 1)
    [event] = await messages_of(bus.nc, bus.streams.events)
    carried = {"ce-correlationid", "ce-causationid", "ce-actor", "ce-traceparent", "traceparent"}
    assert not carried & event.headers.keys()


async def test_no_value_of_a_command_can_write_a_header_of_its_own(bus: Bus, store: EventStore) -> None:
    await store.append(facts(1, meta=Meta(actor='Jürgen "J" 100%\r\nNats-Rollup: all', correlation_id="")))
    async with running(a_relay(bus, store)):
        await reached(bus, 1)
    [event] = await messages_of(bus.nc, bus.streams.events)
    assert "Nats-Rollup" not in event.headers
    assert event.headers["ce-actor"] == "J%C3%BCrgen%20%22J%22%20100%25%0D%0ANats-Rollup:%20all"
    assert event.headers["ce-correlationid"] == ""


async def test_ids_are_unique_and_follow_from_the_log_alone(bus: Bus, store: EventStore) -> None:
    await asyncio.gather(*(store.append(facts(20)) for _ in range(20)))
    first = [message(event, bus.subjects) for event in await events_of(store)]
    again = [message(event, bus.subjects) for event in await events_of(store)]
    assert first == again
    assert len({one.id for one in first}) == 400


async def test_events_follow_a_commit_without_waiting_for_the_poll(bus: Bus, store: EventStore) -> None:
    async with running(a_relay(bus, store, poll=3600.0)):
        await store.append(facts(1))
        await bus.nc.publish(bus.subjects.hint("committed"), b"1")
        await reached(bus, 1)
        await store.append(facts(1))
        await bus.nc.publish(bus.subjects.hint("committed"), b"2")
        await reached(bus, 2)


async def test_without_hints_the_poll_finds_what_was_committed(bus: Bus, store: EventStore) -> None:
    async with running(a_relay(bus, store, poll=0.05)):
        await store.append(facts(3))
        await reached(bus, 3)
    await assert_mirrors(bus, store)


async def test_several_relays_and_writers_at_once_give_one_stream(bus: Bus, store: EventStore) -> None:
    relays = [a_relay(bus, store, window=40, poll=0.05, takeover=0.05) for _ in range(3)]
    async with running(*relays):
        for _ in range(10):
            await asyncio.gather(*(store.append(facts(25)) for _ in range(8)))
            await bus.nc.publish(bus.subjects.hint("committed"), b"")
        await reached(bus, 2000)
    await assert_mirrors(bus, store)


async def test_another_relay_goes_on_where_one_ended(bus: Bus, store: EventStore) -> None:
    for total in (300, 600, 900):
        await store.append(facts(300))
        async with running(a_relay(bus, store, window=64)):
            await reached(bus, total - 100)  # and is cancelled in the middle
    async with running(a_relay(bus, store)):
        await reached(bus, 900)
    await assert_mirrors(bus, store)


async def test_a_purged_stream_goes_on_at_its_positions(bus: Bus, store: EventStore) -> None:
    async with running(a_relay(bus, store, poll=0.05)):
        await store.append(facts(10))
        await reached(bus, 10)
        await jetstream.call(bus.nc, f"STREAM.PURGE.{bus.streams.events}")
        await store.append(facts(5))
        await reached(bus, 15)
    assert await last_sequence(bus) == 15
    await assert_mirrors(bus, store, first=11)


async def test_a_stream_that_is_deleted_is_filled_again_also_while_nothing_happens(
    bus: Bus, store: EventStore
) -> None:
    async with running(a_relay(bus, store, poll=0.05)):
        await store.append(facts(500))
        await reached(bus, 500)
        before = await assert_mirrors(bus, store)
        await jetstream.call(bus.nc, f"STREAM.DELETE.{bus.streams.events}")
        await reached(bus, 500)
    after = await assert_mirrors(bus, store)
    assert [m.headers for m in after if "Nats-Expected-Last-Msg-Id" in m.headers]
    strip = ("Nats-Expected-Last-Msg-Id",)
    assert [{k: v for k, v in m.headers.items() if k not in strip} for m in after] == [
        {k: v for k, v in m.headers.items() if k not in strip} for m in before
    ]


async def test_a_stream_that_was_put_back_is_filled_from_its_end(bus: Bus, store: EventStore) -> None:
    relay = a_relay(bus, store, poll=0.05)
    await store.append(facts(10))
    async with running(relay):
        await reached(bus, 10)
        copy = await copied(bus.nc, bus.streams.events)
        await store.append(facts(10))
        await reached(bus, 20)
    await put_back(bus.nc, bus.streams.events, copy)
    await store.append(facts(1))
    async with running(relay):
        await reached(bus, 21)
    await assert_mirrors(bus, store)


async def test_a_stream_cut_back_by_a_power_failure_is_filled_from_its_end(
    bus: Bus, store: EventStore
) -> None:
    await store.append(facts(100))
    messages = [message(event, bus.subjects) for event in await events_of(store)]
    lost = Outlet(bus.nc, 5.0)
    async with lost.listening():
        await lost.stored(await lost.send(messages[:40], ""))
    async with running(a_relay(bus, store)):
        await reached(bus, 100)
    await assert_mirrors(bus, store)


async def test_an_acknowledgement_of_another_sequence_is_not_taken_for_ones_own(
    bus: Bus, store: EventStore
) -> None:
    await store.append(facts(1))
    messages = [message(event, bus.subjects) for event in await events_of(store)]
    await jetstream.call(bus.nc, f"STREAM.DELETE.{bus.streams.events}")

    async def acknowledge(published: Msg) -> None:
        await published.respond(b'{"stream": "ANOTHER", "seq": 7}')

    await bus.nc.subscribe(f"{bus.subjects.prefix}.events.>", cb=acknowledge)
    publishing = Outlet(bus.nc, PATIENCE)
    async with publishing.listening():
        with pytest.raises(OutOfPlace, match="event 1 has sequence 7"):
            await publishing.stored(await publishing.send(messages, ""))


def unfenced(messages: list[Message], former: str, reply: str) -> list[bytes]:
    """The run as a relay would publish it that relies on message ids alone."""
    block = b""
    for one in messages:
        head = f"NATS/1.0\r\n{one.headers}\r\n".encode()
        to = reply if one is messages[-1] else ""
        block += f"HPUB {one.subject} {to}{len(head)} {len(head) + len(one.body)}\r\n".encode()
        block += head + one.body + b"\r\n"
    return [block]


async def is_new(bus: Bus) -> bool:
    """Send a message that always has the same id, and return whether the server stored it."""
    subject, headers = bus.subjects.event(uuid4(), "tenant.none"), {"Nats-Msg-Id": "the same"}
    return not (await bus.nc.jetstream(timeout=PATIENCE).publish(subject, b"", headers=headers)).duplicate


@pytest.mark.parametrize(("fenced", "stored"), [(True, 50), (False, 100)])
async def test_a_paused_relay_that_wakes_up_repeats_nothing_thanks_to_the_fence(
    bus: Bus, store: EventStore, monkeypatch: pytest.MonkeyPatch, fenced: bool, stored: int
) -> None:
    """The same pause without the expected sequence stores every event twice."""
    if not fenced:
        monkeypatch.setattr(outlet, "_blocks", unfenced)
    await recreate_events(*bus, Limits(events_window=0.1))
    await store.append(facts(50))
    run = [message(event, bus.subjects) for event in await events_of(store)]
    paused, other = Outlet(bus.nc, 5.0), Outlet(bus.nc, 5.0)
    async with paused.listening(), other.listening():
        await other.stored(await other.send(run, ""))
        assert await is_new(bus)
        await until(partial(is_new, bus))  # so the server has forgotten the ids that it heard before
        late = await paused.send(run, "")
        if fenced:
            with pytest.raises(OutOfPlace):
                await paused.stored(late)
    await bus.nc.flush()
    await reached(bus, stored + 2)
    assert len(await messages_of(bus.nc, bus.streams.events)) == stored + 2


async def astray(registry: CollectorRegistry) -> bool:
    return registry.get_sample_value("tenants_relay_astray") == 1


async def test_a_strangers_message_stops_the_relay_loudly_and_loses_no_event(
    bus: Bus, store: EventStore
) -> None:
    registry = CollectorRegistry()
    await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.event(uuid4(), "tenant.forged"), b"{}")
    await store.append(facts(10))
    async with running(a_relay(bus, store, poll=0.05, registry=registry)):
        await until(partial(astray, registry))
        assert await last_sequence(bus) == 1


async def test_a_stream_ahead_of_the_log_is_left_alone_and_told(bus: Bus, store: EventStore) -> None:
    registry = CollectorRegistry()
    await store.append(facts(1))
    async with running(a_relay(bus, store, poll=0.05, registry=registry)):
        await reached(bus, 1)
        await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.event(uuid4(), "tenant.forged"), b"{}")
        await until(partial(astray, registry))
        await store.append(facts(10))
        assert await last_sequence(bus) == 2


async def test_a_strangers_message_within_a_run_displaces_nothing(bus: Bus, store: EventStore) -> None:
    """Its sequence would make room for the event behind the one that it displaced."""
    await store.append(facts(10))
    run = [message(event, bus.subjects) for event in await events_of(store)]
    outlet = Outlet(bus.nc, 5.0)
    async with outlet.listening():
        await outlet.stored(await outlet.send(run[:3], ""))
        await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.event(uuid4(), "tenant.forged"), b"{}")
        with pytest.raises(OutOfPlace):
            await outlet.stored(await outlet.send(run[3:], run[2].id))
    assert await last_sequence(bus) == 4


async def test_an_event_beyond_the_servers_size_ends_neither_the_relay_nor_the_connection(
    bus: Bus, store: EventStore
) -> None:
    tenant = uuid4()
    batch = facts(3, tenant=tenant)
    large = batch.events[1]._replace(state=b'{"v":1,"data":{"name":"%b"},"meta":{}}' % (b"x" * 1024 * 1024))
    batch.events[1] = large
    await store.append(batch)
    async with running(a_relay(bus, store, poll=0.05)):
        await reached(bus, 3)
    assert bus.nc.stats["reconnects"] == 0
