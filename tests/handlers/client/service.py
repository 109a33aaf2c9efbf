"""A stand-in for the service on a real nats-server: it answers as a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from nats.aio.msg import Msg

from handlers.adapters import jetstream
from handlers.bus.streams import Limits, definitions
from handlers.client import TenantClient
from handlers.relay.cloud_events import message
from handlers.store.event_store import StoredEvent
from handlers.wire import headers as names
from handlers.wire.events import Meta, encoded
from handlers.wire.outcomes import completed, rejected, rendered
from tenant_domain.decision import Event
from tenant_domain.refusals import Refusal
from tests.support.bus import Bus
from tests.support.waiting import PATIENCE

Answer = bytes | Refusal | None
"""The body of an answer, a refusal, or silence."""

Answering = Callable[[Msg], Answer | Awaitable[Answer]]

TIME = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def client_of(bus: Bus, **options: Any) -> TenantClient:
    """Return a client on the connection of the test, with the patience of one in service."""
    given = {"timeout": 30.0, "attempt": 10.0, **options}
    return TenantClient(bus.nc, prefix=bus.subjects.prefix, streams=bus.streams, **given)


@asynccontextmanager
async def serving(
    bus: Bus, subject: str, answering: Answering | Sequence[Answer]
) -> AsyncGenerator[list[Msg]]:
    """Answer what comes to `subject`, one by one from a list, or each by a function; gives what came.

    The last answer of a list is given to all that comes later, too.
    """
    came: list[Msg] = []

    async def answer(request: Msg) -> None:
        came.append(request)
        told = answering(request) if callable(answering) else answering[min(len(came), len(answering)) - 1]
        if isinstance(told, Awaitable):
            told = await told
        if told is not None:
            await reply(bus, request.reply, request, told)

    subscription = await bus.nc.subscribe(subject, cb=answer)
    await bus.nc.flush()
    try:
        yield came
    finally:
        await subscription.unsubscribe()


async def reply(bus: Bus, to: str, request: Msg, answer: bytes | Refusal) -> None:
    """Send the answer to `request` to a subject, as the service does."""
    if isinstance(answer, bytes):
        await bus.nc.publish(to, answer)
        return
    tenant_id = request.subject.split(".")[2]
    body = rejected(command_id_of(request), tenant_id, answer)
    errors = {names.ERROR_CODE: str(answer.status), names.ERROR: answer.problem}
    await bus.nc.publish(to, body, headers=errors)


def command_id_of(request: Msg) -> str:
    """Return the id of a command that came."""
    return (request.headers or {}).get(names.COMMAND_ID, "")


def done(
    request: Msg | None = None, *, version: int = 7, position: int = 4711, operation_id: UUID | None = None
) -> bytes:
    """Return a completed outcome."""
    command_id = UUID(command_id_of(request)) if request else uuid4()
    return rendered(completed(command_id, uuid4(), version, operation_id, {"seen": True}), position)


def answer_of(**fields: Any) -> bytes:
    """Return the answer of a query."""
    return msgspec.json.encode({"position": 4711, **fields})


async def make_streams(bus: Bus, **changes: Any) -> None:
    """Make the streams of commands and events; `changes` are put into the one of commands."""
    wanted = definitions(bus.subjects, bus.streams, Limits(partitions=4))
    await jetstream.call(
        bus.nc,
        f"STREAM.CREATE.{bus.streams.commands}",
        {**wanted[bus.streams.commands], "storage": "memory", "persist_mode": "", **changes},
    )
    await make_events(bus)


async def make_events(bus: Bus, first: int = 1) -> None:
    """Make the stream of events; its first message will have the position `first`."""
    wanted = definitions(bus.subjects, bus.streams, Limits())[bus.streams.events]
    await jetstream.call(bus.nc, f"STREAM.CREATE.{bus.streams.events}", {**wanted, "first_seq": first})


async def happen(bus: Bus, tenant_id: UUID, *events: Event, first: int, meta: Meta | None = None) -> None:
    """Publish events as the relay does, from the position `first` on."""
    for position, event in enumerate(events, first):
        state = encoded(event, meta or Meta())
        row = StoredEvent(position, tenant_id, tenant_id, position, event.name, state, TIME)
        await publish(bus, row)


async def publish(bus: Bus, row: StoredEvent) -> None:
    """Publish one stored event at its position."""
    told = message(row, bus.subjects)
    headers = jetstream.parsed_headers(f"NATS/1.0\r\n{told.headers}".encode())
    headers[names.EXPECTED_LAST_SEQUENCE] = str(row.position - 1)
    ack = await bus.nc.request(told.subject, told.body, headers=headers, timeout=PATIENCE)
    assert msgspec.json.decode(ack.data).get("seq") == row.position, ack.data
