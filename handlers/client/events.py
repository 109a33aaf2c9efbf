"""Events from a position on, each once and in order, whatever happens to connection, server or stream.

A reader is an ephemeral consumer without acks that begins at the next position. Its numbering of what it
delivered is without holes; where one shows, where it falls silent, or where it is gone, another one takes
its place at the position reached. Positions are the stream's sequences, so that is exact, also on a stream
that was lost and filled again.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import msgspec
from nats.errors import Error as NatsError
from nats.nuid import NUID

from handlers.client.errors import EventsReplaced, NoAnswer, PositionsGone
from handlers.client.link import Link
from handlers.client.queries import queried
from handlers.client.reader import Interrupted, Reader
from handlers.client.received import ReceivedEvent, received
from handlers.wire.headers import CE_ID
from tenant_domain.refusals import Refusal

log = logging.getLogger("tenants.client")

IDLE = 60.0
"""Seconds after which the server removes a consumer that nobody asks."""

SECOND = 1_000_000_000
"""JetStream counts in nanoseconds."""

_names = NUID()


async def events(
    link: Link, from_position: int | None, tenant_id: UUID | None, types: Collection[str] | None
) -> AsyncGenerator[ReceivedEvent]:
    """Yield events from `from_position` on (None: those from now on), as they come, for ever.

    Raises PositionsGone when the stream begins later, and EventsReplaced when the last event that was yielded
    is no more in it; ClientClosed where the connection is closed.
    """
    subjects = _filters(link, tenant_id, types)
    position = from_position
    last: ReceivedEvent | None = None
    failures = 0
    while True:
        try:
            if position is None:
                position = (await _state(link))["last_seq"] + 1
            read_before = last
            if read_before is not None:
                await _require(link, read_before)
            async with _reader(link, subjects, position) as reader:
                async for message in reader:
                    failures = 0
                    if read_before is not None:  # the stream may have been filled again only by now
                        await _require(link, read_before)
                        read_before = None
                    event = received(message)
                    if event.position >= position:  # some servers begin at a shorter stream's end
                        position, last = event.position + 1, event
                        yield event if event.dataref is None else await _whole(link, event)
        except (Interrupted, NatsError, TimeoutError) as error:
            failures += 1
            link.require_open()
            log.log(
                logging.WARNING if failures in (2, 20) else logging.DEBUG, "events interrupted: %r", error
            )
            await asyncio.sleep(min(0.05 * 2 ** min(failures, 6), 2.0))


async def _require(link: Link, last: ReceivedEvent) -> None:
    """Raise EventsReplaced where the stream has another message in the place of an event that was read."""
    stream = link.streams.events
    try:
        found = (await _api(link, f"STREAM.MSG.GET.{stream}", {"seq": last.position}))["message"]
    except Interrupted:
        return  # it is not there, or not yet again: nothing can be said
    if f"{CE_ID}: {last.id}\r\n".encode() not in b64decode(found.get("hdrs", "")):
        raise EventsReplaced(stream, last.position, last.id)


async def _whole(link: Link, event: ReceivedEvent) -> ReceivedEvent:
    """Return an event with the data that its message did not carry, where the query `history` has them."""
    fields = {"from_position": event.position, "to_position": event.position, "limit": 1}
    try:
        page = msgspec.json.decode(await queried(link, event.tenant_id, "history", fields), type=_Page)
        return event.with_data(bytes(page.items[0].data))
    except (Refusal, NoAnswer, IndexError, msgspec.MsgspecError) as error:
        log.error("event %d has its data at %s, which was not read: %r", event.position, event.dataref, error)
        return event


class _Item(msgspec.Struct):
    data: msgspec.Raw


class _Page(msgspec.Struct):
    items: list[_Item]


def _filters(link: Link, tenant_id: UUID | None, types: Collection[str] | None) -> list[str]:
    tenant = "*" if tenant_id is None else str(tenant_id)
    return [link.subjects.event(tenant, name) for name in sorted(types or [">"])]


async def _state(link: Link) -> dict[str, Any]:
    return (await _api(link, f"STREAM.INFO.{link.streams.events}", {}))["state"]


async def _api(link: Link, request: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = await link.nc.request(f"$JS.API.{request}", msgspec.json.encode(body), timeout=link.attempt)
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    if error := answer.get("error"):
        raise Interrupted(f"{request}: {error.get('description')}")
    return answer


@asynccontextmanager
async def _reader(link: Link, subjects: Sequence[str], position: int) -> AsyncGenerator[Reader]:
    """Make a consumer that begins at `position`, and clear it away at the end."""
    stream, name = link.streams.events, f"client_{_names.next().decode()}"
    first = (await _state(link))["first_seq"]
    if first > position:
        raise PositionsGone(stream, position, first)
    reader = Reader(link.nc, f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", link.nc.new_inbox())
    subscription = await link.nc.subscribe(reader.inbox, cb=reader.arrived)
    try:
        await consume(link, stream, name, subjects, position)
        yield reader
    finally:
        with suppress(NatsError):  # the server clears away what is left of it
            await subscription.unsubscribe()
            await link.nc.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")


async def consume(link: Link, stream: str, name: str, subjects: Sequence[str], position: int) -> None:
    """Make the consumer `name`, to begin at `position`."""
    config: dict[str, Any] = {
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": position,
        "ack_policy": "none",
        "max_deliver": 1,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(IDLE * SECOND),
    }
    if len(subjects) == 1:
        config["filter_subject"] = subjects[0]
        place = f"{stream}.{name}.{subjects[0]}"
    else:
        config["filter_subjects"] = list(subjects)
        place = f"{stream}.{name}"
    await _api(
        link, f"CONSUMER.CREATE.{place}", {"stream_name": stream, "config": config, "action": "create"}
    )
