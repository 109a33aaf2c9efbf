"""Subscribing: every event once, in order, from a position on, whatever breaks meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from nats.errors import Error as NatsError

from deploy.embedded import EmbeddedStack
from handlers.adapters import jetstream
from handlers.bus.streams import Limits, recreate_events
from handlers.client import EventsReplaced, PositionsGone, ReceivedEvent, TenantClient
from handlers.client import events as reading_events
from handlers.client import reader as reading
from handlers.client.link import Link
from handlers.relay.cloud_events import claim_check
from handlers.store.event_store import StoredEvent
from handlers.wire import headers as names
from handlers.wire.events import Meta, encoded
from tenant_domain.decision import Event
from tenant_domain.examples import TENANT
from tenant_domain.refusals import TenantNotFound
from tests.handlers.client.service import TIME, client_of, happen, make_events, serving
from tests.support.bus import Bus, own_bus, own_names
from tests.support.examples import EVENT_EXAMPLES
from tests.support.gwt import OTHER_TENANT
from tests.support.waiting import PATIENCE, within

ACTIVATED = EVENT_EXAMPLES["tenant.activated"]
SUSPENDED = EVENT_EXAMPLES["tenant.suspended"]
STORY = tuple(EVENT_EXAMPLES.values())


async def take(events: AsyncGenerator[ReceivedEvent], count: int) -> list[ReceivedEvent]:
    """Return the next events."""
    async with within("the events of the subscription"):
        return [await anext(events) for _ in range(count)]


def positions(events: list[ReceivedEvent]) -> list[int]:
    return [event.position for event in events]


async def test_every_kind_of_event_comes_as_itself(bus: Bus):
    await make_events(bus)
    meta = Meta(actor="Ada Lövelace", correlation_id="order 7", causation_id="click", traceparent="00-1-2-01")
    await happen(bus, TENANT, *STORY, first=1, meta=meta)
    async with aclosing(client_of(bus).subscribe()) as events:
        came = await take(events, len(STORY))
    assert [event.event for event in came] == list(STORY)
    assert [event.type for event in came] == [event.name for event in STORY]
    assert positions(came) == list(range(1, len(STORY) + 1))
    first = came[0]
    assert (first.tenant_id, first.version, first.schema) == (TENANT, 1, STORY[0].schema)
    assert first.time == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    assert (first.actor, first.correlation_id, first.causation_id) == ("Ada Lövelace", "order 7", "click")
    assert first.traceparent == "00-1-2-01"
    assert first.fields["name"] == "Acme Analytics"
    assert len({event.id for event in came}) == len(came)


@pytest.mark.parametrize("ask", ["subscribe", "history"])
async def test_a_mistyped_type_is_refused_at_once_with_what_was_meant(bus: Bus, ask: str):
    client = client_of(bus)
    with pytest.raises(ValueError, match=r"'tenant.activatd' is no type .* did you mean tenant.activated\?"):
        _ = (
            client.subscribe(types=["tenant.suspended", "tenant.activatd"])
            if ask == "subscribe"
            else client.history(TENANT, types=["tenant.suspended", "tenant.activatd"])
        )


async def claim_checks(bus: Bus, *facts: Event) -> None:
    """Let the stream hold events without their content."""
    for position, fact in enumerate(facts, 1):
        body = encoded(fact, Meta(actor="Ada"))
        stored = StoredEvent(position, TENANT, TENANT, position, fact.name, body, TIME)
        check = claim_check(stored, bus.subjects)
        headers = dict(line.split(": ", 1) for line in check.headers.splitlines())
        await bus.nc.jetstream(timeout=PATIENCE).publish(check.subject, check.body, headers=headers)


async def test_an_event_without_its_content_is_read_from_the_history(bus: Bus):
    await make_events(bus)
    await claim_checks(bus, SUSPENDED)
    page = {"items": [{"position": 1, "data": SUSPENDED}], "next_cursor": None, "position": 1}
    asked = bus.subjects.query(TENANT, "history")
    async with (
        serving(bus, asked, [msgspec.json.encode(page)]) as came,
        aclosing(client_of(bus).subscribe()) as events,
    ):
        [event] = await take(events, 1)
    assert msgspec.json.decode(came[0].data) == {"from_position": 1, "to_position": 1, "limit": 1}
    assert (event.event, event.actor) == (SUSPENDED, "Ada")
    assert event.dataref == f"/api/v1/tenants/{TENANT}/history?from_position=1&to_position=1"


async def test_an_event_whose_content_is_not_to_be_had_says_where_it_is(bus: Bus):
    await make_events(bus)
    await claim_checks(bus, SUSPENDED, ACTIVATED)
    refusal = TenantNotFound("There is none.")
    async with (
        serving(bus, bus.subjects.query(TENANT, "history"), [refusal]),
        aclosing(client_of(bus).subscribe()) as events,
    ):
        one, other = await take(events, 2)
    assert (one.event, one.data, one.fields, one.type) == (None, b"", {}, "tenant.suspended")
    assert one.dataref is not None
    assert other.position == 2


async def test_events_of_tomorrow_come_raw(bus: Bus):
    await make_events(bus)
    headers = {
        names.CE_ID: str(uuid4()),
        names.CE_SUBJECT: str(TENANT),
        names.CE_TIME: "2026-11-23T09:00:00.000000Z",
        names.CE_POSITION: "1",
        names.CE_STREAMVERSION: "1",
    }
    for number, (name, schema) in enumerate([("tenant.cloned", "1"), ("tenant.activated", "2")], 1):
        told = {
            **headers,
            names.CE_TYPE: name,
            names.CE_SCHEMAVERSION: schema,
            names.CE_POSITION: str(number),
        }
        await bus.nc.request(
            bus.subjects.event(TENANT, name), b'{"of": "Acme"}', headers=told, timeout=PATIENCE
        )
    async with aclosing(client_of(bus).subscribe()) as events:
        unknown, newer = await take(events, 2)
    assert (unknown.type, unknown.event, unknown.fields) == ("tenant.cloned", None, {"of": "Acme"})
    assert (newer.type, newer.schema, newer.event) == ("tenant.activated", 2, None)


async def test_it_begins_where_it_is_told_to(bus: Bus):
    await make_events(bus)
    await happen(bus, TENANT, *[ACTIVATED] * 5, first=1)
    async with aclosing(client_of(bus).subscribe(4)) as events:
        assert positions(await take(events, 2)) == [4, 5]
        await happen(bus, TENANT, ACTIVATED, first=6)
        assert positions(await take(events, 1)) == [6]


async def test_it_may_begin_with_what_comes_next(bus: Bus):
    await make_events(bus)
    await happen(bus, TENANT, *[ACTIVATED] * 5, first=1)
    async with aclosing(client_of(bus).subscribe(None)) as events:
        coming = asyncio.create_task(take(events, 1))
        await consumers(bus, 1)
        await happen(bus, TENANT, SUSPENDED, first=6)
        assert positions(await coming) == [6]


async def test_one_tenant_and_some_types_can_be_asked_for(bus: Bus):
    await make_events(bus)
    await happen(bus, TENANT, ACTIVATED, SUSPENDED, first=1)
    await happen(bus, OTHER_TENANT, ACTIVATED, SUSPENDED, first=3)
    await happen(bus, TENANT, EVENT_EXAMPLES["tenant.resumed"], first=5)
    client = client_of(bus)
    wanted: list[tuple[dict[str, Any], list[int]]] = [
        ({"tenant_id": TENANT}, [1, 2, 5]),
        ({"types": {"tenant.suspended"}}, [2, 4]),
        ({"types": ["tenant.suspended", "tenant.resumed"]}, [2, 4, 5]),
        ({"tenant_id": str(OTHER_TENANT), "types": ["tenant.activated"]}, [3]),
    ]
    for asked, expected in wanted:
        async with aclosing(client.subscribe(**asked)) as events:
            assert positions(await take(events, len(expected))) == expected


async def test_it_waits_longer_than_any_request_for_messages(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "REQUEST", reading.request_of(expires=0.25, heartbeat=0.1))
    await make_events(bus)
    async with aclosing(client_of(bus).subscribe()) as events:
        coming = asyncio.create_task(take(events, 1))
        (name,) = await consumers(bus, 1)
        await asyncio.sleep(1)  # four requests long
        assert await consumers(bus, 1) == [name]
        await happen(bus, TENANT, ACTIVATED, first=1)
        assert positions(await coming) == [1]


async def test_many_come_in_order(bus: Bus):
    await make_events(bus)
    count = 3 * reading.PULL + 7
    await happen(bus, TENANT, *[ACTIVATED] * count, first=1)
    async with aclosing(client_of(bus).subscribe()) as events:
        assert positions(await take(events, count)) == list(range(1, count + 1))


async def test_a_position_that_is_gone_is_told(bus: Bus):
    await make_events(bus, first=100)
    await happen(bus, TENANT, ACTIVATED, first=100)
    async with aclosing(client_of(bus).subscribe(7)) as events:
        with pytest.raises(PositionsGone, match="begins at position 100") as gone:
            await anext(events)
    assert (gone.value.wanted, gone.value.first) == (7, 100)


async def test_events_that_the_service_lost_are_told_to_who_has_read_them(bus: Bus):
    # Given a subscriber that has read three events
    await make_events(bus)
    await happen(bus, TENANT, *[ACTIVATED] * 3, first=1)
    async with aclosing(client_of(bus).subscribe()) as events:
        assert positions(await take(events, 3)) == [1, 2, 3]
        # When the stream is made anew with others at the last positions
        await bus.nc.jetstream(timeout=PATIENCE).delete_stream(bus.streams.events)
        await make_events(bus)
        await happen(bus, TENANT, ACTIVATED, first=1)
        await happen(bus, OTHER_TENANT, *[SUSPENDED] * 3, first=2)
        # Then it is told, and gets none that follows as if nothing had been
        with pytest.raises(EventsReplaced, match="at position 3") as replaced:
            await take(events, 1)
    assert replaced.value.position == 3


async def test_who_leaves_leaves_nothing_behind(bus: Bus):
    await make_events(bus)
    await happen(bus, TENANT, ACTIVATED, first=1)
    async with aclosing(client_of(bus).subscribe()) as events:
        await take(events, 1)
        await consumers(bus, 1)
    await consumers(bus, 0)


# what may break


async def test_a_stream_that_is_not_there_yet_is_waited_for(bus: Bus):
    async with aclosing(client_of(bus).subscribe()) as events:
        coming = asyncio.create_task(take(events, 1))
        await bus.nc.flush()
        await make_events(bus)
        await happen(bus, TENANT, ACTIVATED, first=1)
        assert positions(await coming) == [1]


async def test_a_server_that_begins_too_early_is_not_believed(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    """Before a stream is filled again as far as it was, some servers begin at the end that it has."""
    await make_events(bus)
    await happen(bus, TENANT, *[ACTIVATED] * 5, first=1)
    consume = reading_events.consume

    async def early(link: Link, stream: str, name: str, subjects: Sequence[str], _: int) -> None:
        await consume(link, stream, name, subjects, 2)

    monkeypatch.setattr(reading_events, "consume", early)
    async with aclosing(client_of(bus).subscribe(4)) as events:
        assert positions(await take(events, 2)) == [4, 5]


async def test_a_consumer_that_is_taken_away_is_replaced_at_once(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "SILENCE", 600)
    await make_events(bus)
    await happen(bus, TENANT, *[ACTIVATED] * 3, first=1)
    async with aclosing(client_of(bus).subscribe()) as events:
        assert positions(await take(events, 3)) == [1, 2, 3]
        coming = asyncio.create_task(take(events, 2))
        for name in await consumers(bus, 1):
            await jetstream.call(bus.nc, f"CONSUMER.DELETE.{bus.streams.events}.{name}")
        await happen(bus, TENANT, *[ACTIVATED] * 2, first=4)
        assert positions(await coming) == [4, 5]


async def test_a_message_that_was_lost_on_its_way_is_fetched(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    await make_events(bus)
    await happen(bus, TENANT, *[ACTIVATED] * 10, first=1)
    monkeypatch.setattr(reading.Reader, "arrived", losing_once(reading.Reader.arrived, position="4"))
    async with aclosing(client_of(bus).subscribe()) as events:
        assert positions(await take(events, 10)) == list(range(1, 11))


async def test_a_silent_server_is_asked_again(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    await make_events(bus)
    await happen(bus, TENANT, ACTIVATED, first=1)
    monkeypatch.setattr(reading.Reader, "arrived", losing_once(reading.Reader.arrived, position="2"))
    monkeypatch.setattr(reading, "SILENCE", 0.3)
    async with aclosing(client_of(bus).subscribe()) as events:
        assert positions(await take(events, 1)) == [1]
        await happen(bus, TENANT, ACTIVATED, first=2)
        assert positions(await take(events, 1)) == [2]


async def test_a_stream_that_is_rebuilt_goes_on_where_it_was(bus: Bus):
    await make_events(bus)
    await happen(bus, TENANT, *STORY[:6], first=1)
    async with aclosing(client_of(bus).subscribe()) as events:
        assert positions(await take(events, 6)) == [1, 2, 3, 4, 5, 6]
        coming = asyncio.create_task(take(events, 2))
        await recreate_events(bus.nc, bus.subjects, bus.streams, Limits())
        for position, event in enumerate(STORY[:8], 1):  # slowly enough to be read while it fills
            await happen(bus, TENANT, event, first=position)
            await asyncio.sleep(0.05)
        came = await coming
    assert positions(came) == [7, 8]
    assert [event.event for event in came] == list(STORY[6:8])


async def test_a_server_that_is_killed_loses_and_repeats_nothing(own_stack: EmbeddedStack):
    url = own_stack.endpoints.nats_url
    subjects, streams = own_names()
    async with (
        own_bus(url) as other,
        TenantClient.connect(url, prefix=subjects.prefix, streams=streams, attempt=0.5) as client,
    ):
        bus = Bus(other.nc, subjects, streams)
        await make_events(bus)
        await happen(bus, TENANT, *[ACTIVATED] * 20, first=1)
        async with aclosing(client.subscribe()) as events:
            assert positions(await take(events, 5)) == [1, 2, 3, 4, 5]
            await own_stack.kill("nats")
            coming = asyncio.create_task(take(events, 25))
            await relayed(bus, [ACTIVATED] * 20 + [SUSPENDED] * 10)
            came = await coming
    assert positions(came) == list(range(6, 31))
    assert [event.event for event in came[-11:]] == [ACTIVATED] + [SUSPENDED] * 10


async def relayed(bus: Bus, events: list[Event]) -> None:
    """Bring the stream up to `events`, as the relay does: on from its last message, whatever was lost."""
    while True:
        try:
            info = await jetstream.stream_info(bus.nc, bus.streams.events)
            assert info is not None
            last: int = info["state"]["last_seq"]
            return await happen(bus, TENANT, *events[last:], first=last + 1)
        except (NatsError, jetstream.JetStreamError):
            await asyncio.sleep(0.1)


async def consumers(bus: Bus, count: int) -> list[str]:
    """Return the names of the consumers of the events, once there are so many."""
    async with within("a subscription without consumers"):
        while True:
            try:
                answer = await jetstream.call(bus.nc, f"CONSUMER.NAMES.{bus.streams.events}")
            except TimeoutError:
                continue
            found: list[str] = answer["consumers"] or []
            if len(found) == count:
                return found


def losing_once(
    arrived: Callable[[reading.Reader, Any], Awaitable[None]], position: str
) -> Callable[[reading.Reader, Any], Awaitable[None]]:
    """Return what takes in all messages but, once, the one at `position`."""
    lost: list[Any] = []

    async def selectively(reader: reading.Reader, message: Any) -> None:
        if not lost and (message.headers or {}).get(names.CE_POSITION) == position:
            lost.append(message)
            return
        await arrived(reader, message)

    return selectively
