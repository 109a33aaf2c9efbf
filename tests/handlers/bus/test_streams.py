"""The service declares its streams: makes, grows, and never weakens them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import structlog
from nats.js.errors import APIError
from prometheus_client import CollectorRegistry

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.bus import streams as declaring
from handlers.bus.stream_rules import compared
from handlers.bus.stream_watch import StreamWatch, departed
from handlers.bus.streams import (
    LARGEST_COMMAND,
    Limits,
    StreamWeakened,
    Unsupported,
    declare,
    declare_one,
    definitions,
)
from tests.support.bus import Bus, messages_of, own_bus
from tests.support.waiting import PATIENCE, until, within

LIMITS = Limits(commands_max_bytes=8 * 1024**2, dead_letters_max_bytes=8 * 1024**2)


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with own_bus(nats_url) as own:
        yield own


async def config_of(bus: Bus, stream: str) -> dict[str, Any]:
    info = await jetstream.stream_info(bus.nc, stream)
    assert info is not None
    return info["config"]


async def put(bus: Bus, command: str = "suspend") -> None:
    await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.command(uuid4(), command), b"{}")


async def test_missing_streams_are_made_and_named_in_the_answer(bus: Bus) -> None:
    s = bus.streams
    made = await declare(bus.nc, bus.subjects, s, LIMITS)
    assert made == {s.commands, s.events, s.context_stream, s.dead_letters, s.advisories}
    assert await declare(bus.nc, bus.subjects, s, LIMITS) == frozenset()


async def test_only_what_the_log_can_fill_again_is_not_synced_one_by_one(bus: Bus) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, LIMITS)
    modes = {s: (await config_of(bus, s)).get("persist_mode") for s in definitions(*bus[1:], LIMITS)}
    assert [stream for stream, mode in modes.items() if mode == "async"] == [
        bus.streams.events,
        bus.streams.context_stream,
    ]


async def test_commands_of_a_tenant_are_stored_in_one_partition_in_order(bus: Bus) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, LIMITS)
    tenant = uuid4()
    for command in ("provision", "suspend", "resume"):
        await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.command(tenant, command), b"{}")
    tokens = [m.subject.split(".") for m in await messages_of(bus.nc, bus.streams.commands)]
    assert [t[3:] for t in tokens] == [[str(tenant), c] for c in ("provision", "suspend", "resume")]
    assert {t[1] for t in tokens} == {"partitions"}
    assert len({t[2] for t in tokens}) == 1


async def test_tenants_spread_over_all_partitions(bus: Bus) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, replace(LIMITS, partitions=4))
    for _ in range(64):
        await bus.nc.publish(bus.subjects.command(uuid4(), "suspend"), b"{}")
    await put(bus)
    stored = await messages_of(bus.nc, bus.streams.commands)
    assert {m.subject.split(".")[2] for m in stored} == {"0", "1", "2", "3"}


async def test_a_full_command_stream_refuses_publishers_and_drops_nothing(bus: Bus) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, replace(LIMITS, commands_max_bytes=20_000))
    js, tenant = bus.nc.jetstream(timeout=PATIENCE), uuid4()
    accepted = 0

    async def fill() -> None:
        nonlocal accepted
        for number in range(100):
            await js.publish(bus.subjects.command(tenant, "suspend"), b"%d" % number + b" " * 1000)
            accepted += 1

    with pytest.raises(APIError, match="maximum bytes exceeded"):
        await fill()
    bodies = [int(m.body) for m in await messages_of(bus.nc, bus.streams.commands)]
    assert bodies == list(range(accepted))
    assert accepted > 5


async def test_a_command_beyond_the_contracts_size_passes_the_door_and_a_far_larger_one_does_not(
    bus: Bus,
) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, LIMITS)
    js, subject = bus.nc.jetstream(timeout=PATIENCE), bus.subjects.command(uuid4(), "update_profile")
    await js.publish(subject, b" " * (256 * 1024 + 1))
    with pytest.raises(APIError, match="message size exceeds"):
        await js.publish(subject, b" " * (LARGEST_COMMAND + 1))


async def test_commands_can_be_published_in_atomic_batches(bus: Bus) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, LIMITS)
    batch, subject = uuid4().hex, bus.subjects.command(uuid4(), "suspend")
    headers = {"Nats-Batch-Id": batch}
    await bus.nc.publish(subject, b"{}", headers=headers | {"Nats-Batch-Sequence": "1"})
    commit = headers | {"Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
    ack = await bus.nc.request(subject, b"{}", headers=commit, timeout=PATIENCE)
    assert b'"count":2' in ack.data


async def test_a_stream_grows_and_keeps_what_the_service_does_not_know(bus: Bus) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, LIMITS)
    await put(bus)
    name = bus.streams.commands
    theirs = {"description": "ours", "allow_msg_ttl": True}
    await jetstream.call(bus.nc, f"STREAM.UPDATE.{name}", await config_of(bus, name) | theirs)

    bigger = replace(LIMITS, commands_max_bytes=LIMITS.commands_max_bytes * 2, commands_window=60.0)
    assert await declare(bus.nc, bus.subjects, bus.streams, bigger) == frozenset()

    config = await config_of(bus, name)
    assert config["max_bytes"] == bigger.commands_max_bytes
    assert config["duplicate_window"] == 60 * declaring.SECOND
    assert theirs.items() <= config.items()


async def test_a_stream_of_old_is_brought_up_to_what_is_needed(bus: Bus) -> None:
    wanted = definitions(*bus[1:], LIMITS)[bus.streams.commands]
    former = wanted | {
        "discard": "old",
        "allow_atomic": False,
        "max_msg_size": 100_000,
        "allow_direct": False,
    }
    await jetstream.call(bus.nc, f"STREAM.CREATE.{bus.streams.commands}", former)
    await put(bus)
    await declare(bus.nc, bus.subjects, bus.streams, LIMITS)
    config = await config_of(bus, bus.streams.commands)
    assert {field: config[field] for field in wanted if field in config} == {
        field: value for field, value in wanted.items() if field in config
    }


@pytest.mark.parametrize(
    ("field", "present"),
    [
        ("max_bytes", 16 * 1024**2),
        ("max_bytes", -1),
        ("max_msg_size", 1024**2),
        ("duplicate_window", 60 * declaring.SECOND),
        ("retention", "workqueue"),
        ("storage", "memory"),
        ("subject_transform", None),
        ("persist_mode", "default"),
        ("discard", "new"),
        ("subjects", "more"),
    ],
)
async def test_what_would_weaken_a_stream_is_refused_and_named(bus: Bus, field: str, present: object) -> None:
    wanted = definitions(*bus[1:], LIMITS)[bus.streams.commands]
    if field == "persist_mode":
        wanted |= {"persist_mode": "async", "allow_atomic": False}
    if field == "discard":
        wanted |= {"discard": "old"}
    if field == "subjects":
        present = [*wanted["subjects"], f"{bus.subjects.prefix}.more"]
    former = wanted | {field: present}
    await jetstream.call(bus.nc, f"STREAM.CREATE.{bus.streams.commands}", former)
    await put(bus)
    before = await config_of(bus, bus.streams.commands)

    with pytest.raises(StreamWeakened, match=rf"{bus.streams.commands}.*{field}") as refused:
        await declare_one(bus.nc, wanted)

    assert (refused.value.stream, refused.value.field) == (bus.streams.commands, field)
    assert await config_of(bus, bus.streams.commands) == before


async def test_fewer_replicas_are_refused() -> None:
    """Compared without a server, which would have to be three."""
    wanted = {"name": "S", "num_replicas": 1}
    with pytest.raises(StreamWeakened, match="num_replicas"):
        compared({"config": {"name": "S", "num_replicas": 3}}, wanted)
    assert compared({"config": {"name": "S", "num_replicas": 1}}, wanted | {"num_replicas": 3}) == {
        "num_replicas": 3
    }


async def test_an_empty_stream_may_get_smaller(bus: Bus) -> None:
    await declare(bus.nc, bus.subjects, bus.streams, LIMITS)
    smaller = replace(LIMITS, commands_max_bytes=1024**2)
    await declare(bus.nc, bus.subjects, bus.streams, smaller)
    assert (await config_of(bus, bus.streams.commands))["max_bytes"] == 1024**2
    await put(bus)
    with pytest.raises(StreamWeakened, match="max_bytes"):
        await declare(bus.nc, bus.subjects, bus.streams, replace(smaller, commands_max_bytes=1000))


async def test_another_streams_subject_is_a_clear_error(bus: Bus) -> None:
    await bus.nc.jetstream(timeout=PATIENCE).add_stream(
        name=bus.streams.context, subjects=[f"{bus.subjects.prefix}.events.x.>"]
    )
    with pytest.raises(Unsupported, match="another stream has its subjects"):
        await declare(bus.nc, bus.subjects, bus.streams, LIMITS)


async def test_many_may_declare_at_once(bus: Bus) -> None:
    bigger = replace(LIMITS, commands_max_bytes=LIMITS.commands_max_bytes * 2)
    await asyncio.gather(*(declare(bus.nc, bus.subjects, bus.streams, LIMITS) for _ in range(8)))
    await asyncio.gather(*(declare(bus.nc, bus.subjects, bus.streams, bigger) for _ in range(8)))
    assert (await config_of(bus, bus.streams.commands))["max_bytes"] == bigger.commands_max_bytes


@asynccontextmanager
async def watching(bus: Bus, registry: CollectorRegistry | None = None) -> AsyncGenerator[None]:
    """Watch over the streams while inside."""
    wanted = definitions(bus.subjects, bus.streams, LIMITS)
    watch = StreamWatch(
        lambda: bus.nc, wanted, partial(declare, *bus, LIMITS), registry or CollectorRegistry(), interval=0.02
    )
    await watch.start()
    try:
        yield
    finally:
        await watch.stop()


async def put_back(bus: Bus) -> None:
    """Wait until all streams are as they were declared."""
    async with within("the streams as they were declared"):
        while await departed(bus.nc, definitions(bus.subjects, bus.streams, LIMITS)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("lost", ["commands", "events", "dead_letters", "context_stream", "advisories"])
async def test_a_stream_that_is_lost_is_made_again_while_the_service_runs(bus: Bus, lost: str) -> None:
    name = getattr(bus.streams, lost)
    await declare(*bus, LIMITS)
    config = await config_of(bus, name)
    async with watching(bus):
        await jetstream.call(bus.nc, f"STREAM.DELETE.{name}")
        await put_back(bus)
        assert await config_of(bus, name) == config


@pytest.mark.parametrize(
    ("which", "weaker"),
    [
        ("commands", {"max_bytes": 100_000}),
        ("commands", {"max_msgs": 1, "discard": "old"}),
        ("commands", {"max_msgs_per_subject": 1}),
        ("commands", {"max_age": 60_000_000_000}),
        ("events", {"max_msgs": 3}),
        ("events", {"max_age": 1_000_000_000, "duplicate_window": 1_000_000_000}),
        ("events", {"no_ack": True, "allow_direct": False}),
        ("dead_letters", {"max_msgs": 1}),
        ("context_stream", {"max_bytes": 100_000}),
        ("advisories", {"max_msgs": 1}),
    ],
)
async def test_a_stream_that_is_weakened_is_put_back_while_the_service_runs(
    bus: Bus, which: str, weaker: Json
) -> None:
    name = getattr(bus.streams, which)
    await declare(*bus, LIMITS)
    config = await config_of(bus, name)
    await jetstream.call(bus.nc, f"STREAM.UPDATE.{name}", config | weaker)
    assert await departed(bus.nc, definitions(bus.subjects, bus.streams, LIMITS))
    async with watching(bus):
        await put_back(bus)
    assert await config_of(bus, name) == config


async def test_what_cannot_be_put_back_is_told_once_and_counted(bus: Bus) -> None:
    await declare(*bus, LIMITS)
    name, registry = bus.streams.commands, CollectorRegistry()
    config = await config_of(bus, name)
    await put(bus)
    await jetstream.call(
        bus.nc, f"STREAM.UPDATE.{name}", config | {"max_bytes": 2 * LIMITS.commands_max_bytes}
    )

    def is_counted() -> bool:
        return registry.get_sample_value("tenants_streams_departed", {"stream": name}) == 1

    with structlog.testing.capture_logs() as said:
        async with watching(bus, registry):
            await until(is_counted)
            await asyncio.sleep(0.2)
    told = [line["event"] for line in said if line["log_level"] == "error"]
    assert told == ["streams are not as they were declared, and are put back", "a stream cannot be put back"]
