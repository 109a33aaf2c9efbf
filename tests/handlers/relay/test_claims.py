"""No event holds up those behind it: what no server carries goes out as a claim check, in its place."""

from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from handlers.adapters import jetstream
from handlers.relay import claims as claiming
from handlers.relay.cloud_events import event_id
from handlers.relay.outlet import NotStored, Outlet, OutOfPlace, Run
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta
from tenant_domain.tenant.events import ProfileUpdated
from tests.handlers.relay.relays import (
    a_relay,
    assert_mirrors,
    kept,
    large,
    limit_messages,
    reached,
    running,
    until,
)
from tests.support.bus import Bus, messages_of
from tests.support.log import facts

LARGE = 1_200_000


def with_body(body: bytes) -> Batch:
    """Return a batch of one event whose stored body is this."""
    tenant = uuid4()
    return Batch(events=[EventRow(tenant, tenant, 1, ProfileUpdated.name, body, 0)])


async def test_an_event_that_the_server_does_not_carry_lets_the_others_pass(
    bus: Bus, store: EventStore, store_url: str
) -> None:
    tenant, registry = uuid4(), CollectorRegistry()
    await store.append(facts(3))
    await store.append(large(LARGE, tenant, Meta(actor="Ada", correlation_id="c-1")))
    await store.append(facts(3))
    with capture_logs() as logs:
        async with running(a_relay(bus, store, registry=registry)):
            await reached(bus, 7)

    messages = await messages_of(bus.nc, bus.streams.events)
    assert [message.sequence for message in messages] == [1, 2, 3, 4, 5, 6, 7]
    claim, [stored] = messages[3], await store.read(3, 1)
    assert claim.body == b""
    assert claim.headers["ce-dataref"] == (f"/api/v1/tenants/{tenant}/history?from_position=4&to_position=4")
    assert "ce-datacontenttype" not in claim.headers
    assert claim.headers["Nats-Msg-Id"] == claim.headers["ce-id"] == event_id(stored)
    assert (claim.headers["ce-type"], claim.headers["ce-position"]) == ("tenant.profile_updated", "4")
    assert (claim.headers["ce-actor"], claim.headers["ce-correlationid"]) == ("Ada", "c-1")
    told = [log for log in logs if log["event"] == "message goes out as a claim check"]
    assert [(log["log_level"], log["position"], log["tenant_id"]) for log in told] == [
        ("error", 4, str(tenant))
    ]
    name = {"outlet": bus.streams.events}
    assert registry.get_sample_value("tenants_relay_claim_checks_total", name) == 1
    assert [position for position, _ in await kept(store_url)] == [4]


async def test_a_relay_goes_on_behind_a_claim_check(bus: Bus, store: EventStore) -> None:
    await store.append(large(LARGE))
    async with running(a_relay(bus, store)):
        await reached(bus, 1)
    await store.append(facts(2))
    async with running(a_relay(bus, store)):
        await reached(bus, 3)


async def test_the_largest_event_that_the_server_carries_is_published_whole(
    bus: Bus, store: EventStore, store_url: str
) -> None:
    await store.append(large(1024 * 1024 - 1024))
    async with running(a_relay(bus, store)):
        await reached(bus, 1)
    await store.append(facts(1))
    async with running(a_relay(bus, store)):  # whose look at the stream's end meets it
        await reached(bus, 2)
    await assert_mirrors(bus, store)
    assert await kept(store_url) == []


@pytest.mark.parametrize("before", [0, 3])
async def test_events_that_the_stream_refuses_let_the_others_pass(
    bus: Bus, store: EventStore, store_url: str, before: int
) -> None:
    await limit_messages(bus, 20_000)
    if before:
        await store.append(facts(before))
    for _ in range(2):
        await store.append(large(30_000))
        await store.append(facts(2))
    async with running(a_relay(bus, store, poll=0.05, takeover=0.05)):
        await reached(bus, before + 6)
    messages = await messages_of(bus.nc, bus.streams.events)
    claimed = [message.sequence for message in messages if "ce-dataref" in message.headers]
    assert claimed == [before + 1, before + 4]
    assert [position for position, _ in await kept(store_url)] == claimed
    assert all("maximum" in reason for _, reason in await kept(store_url))


@pytest.mark.parametrize("body", [b"no JSON", b"{}", b'{"v":1,"data":', b'"\xff"'])
async def test_what_is_stored_and_is_no_event_lets_the_others_pass(
    bus: Bus, store: EventStore, store_url: str, body: bytes
) -> None:
    await store.append(with_body(body))
    await store.append(facts(2))
    async with running(a_relay(bus, store)):
        await reached(bus, 3)
    claim, *_ = await messages_of(bus.nc, bus.streams.events)
    assert (claim.headers["ce-schemaversion"], claim.body) == ("0", b"")
    assert await kept(store_url) == [(1, "what is stored is not an event")]


async def test_an_event_that_is_never_acknowledged_lets_the_others_pass(
    bus: Bus, store: EventStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(facts(1))
    await store.append(facts(1))
    send = Outlet.send

    async def swallow(self: Outlet, messages: Any, former: str) -> Run:
        if any(each.position == 1 and each.body for each in messages):
            raise NotStored("no acknowledgement in time")
        return await send(self, messages, former)

    monkeypatch.setattr(Outlet, "send", swallow)
    async with running(a_relay(bus, store)):
        await reached(bus, 2)
    assert await kept(store_url) == [(1, "the server does not acknowledge it")]


async def test_a_server_that_refuses_for_its_own_trouble_gets_the_event_whole_when_it_is_well(
    bus: Bus, store: EventStore, store_url: str
) -> None:
    info = await jetstream.stream_info(bus.nc, bus.streams.events)
    assert info is not None
    full = info["config"] | {"max_bytes": 400, "discard": "new"}
    await jetstream.call(bus.nc, f"STREAM.UPDATE.{bus.streams.events}", full)
    await store.append(facts(2))
    refused: list[Any] = []

    async def some_tries() -> bool:
        refused.extend(log for log in logs if log["event"] == "relay interrupted")
        logs.clear()
        return len(refused) > claiming.TRIES

    with capture_logs() as logs:
        async with running(a_relay(bus, store, poll=0.05)):
            await until(some_tries)
            await jetstream.call(bus.nc, f"STREAM.UPDATE.{bus.streams.events}", info["config"])
            await reached(bus, 2)
    await assert_mirrors(bus, store)
    assert await kept(store_url) == []


def test_trouble_somewhere_else_begins_the_counting_anew() -> None:
    doubt = claiming.Doubt()
    assert not doubt.begin(5)
    doubt.fail(NotStored("no acknowledgement in time"))
    doubt.fail(OutOfPlace("another relay was quicker"))
    assert (doubt.begin(5), doubt.silences) == (True, 1)
    assert (doubt.begin(6), doubt.silences) == (False, 0)
    doubt.fail(TimeoutError())
    assert not doubt.begin(6)
