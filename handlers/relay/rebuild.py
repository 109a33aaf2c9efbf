"""TENANT_EVENTS made anew from the log: the same ids, positions and bytes, and its durable consumers go on.

A consumer is made again with the configuration it had, paused, set behind the last message up to which it had
acknowledged all, and let go: what it acknowledged out of order beyond that comes once more. JetStream can set
only consumers back that deliver from a given place; one that delivers only what is new (or last) becomes one
that starts at its sequence.

Between the deletion of the stream and the return of its consumers, they stand in a stream of their own,
so that a rebuild that was interrupted is finished by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.adapters.tasks import end
from handlers.relay.events import EventRelay
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

LOOK = 0.1
"""Seconds between two reports of progress."""

_FOR_NOW = "2999-01-01T00:00:00Z"
_BY_PLACE = ("all", "by_start_sequence", "by_start_time")


class BeyondTheLog(ValueError):
    """The stream cannot begin where it is asked to: the log has no such position."""


class Consumer(msgspec.Struct, frozen=True):
    """A durable consumer: its configuration, and the sequence up to which it needs nothing more."""

    config: Json
    done: int


async def rebuild(
    nc: Client,
    store: EventStore,
    relay: EventRelay,
    subjects: Subjects,
    stream: str,
    recreate: Callable[[int], Awaitable[None]],
    *,
    first: int = 1,
    progress: Callable[[int, int], None] = lambda _position, _head: None,
) -> int:
    """Make the stream anew from position `first` on, and return up to where it was filled.

    `recreate` deletes the stream and makes it again with the given first sequence. `relay` fills it; others
    may be running. `progress` is called with the position reached and the log's end. Raises BeyondTheLog for
    such a `first`; StoreUnavailable, JetStreamError, and nats-py's errors: call it again then.
    """
    head = await store.head()
    if not 1 <= first <= head + 1:
        raise BeyondTheLog(f"the log has positions 1 to {head}, so no stream begins at {first}")
    keeping = f"{stream}_REBUILD"
    consumers = _merged(await _kept(nc, keeping), await _consumers(nc, stream))
    await _keep(nc, keeping, subjects, consumers)
    await relay.claims.forget()
    await recreate(first)
    for consumer in consumers:
        await _restore(nc, stream, consumer)
    await jetstream.call(nc, f"STREAM.DELETE.{keeping}")
    await _fill(nc, relay, stream, head, progress)
    return head


async def _fill(
    nc: Client, relay: EventRelay, stream: str, head: int, progress: Callable[[int, int], None]
) -> None:
    filling = asyncio.create_task(relay.run())
    try:
        while not filling.done():
            info = await jetstream.stream_info(nc, stream)
            position: int = info["state"]["last_seq"] if info else 0
            progress(position, head)
            if position >= head:
                return
            await asyncio.sleep(LOOK)
    finally:
        await end(filling)


async def _consumers(nc: Client, stream: str) -> list[Consumer]:
    if await jetstream.stream_info(nc, stream) is None:
        return []
    found: list[Json] = []
    while True:
        page = await jetstream.call(nc, f"CONSUMER.LIST.{stream}", {"offset": len(found)})
        found += page.get("consumers") or []
        if len(found) >= page["total"] or not page.get("consumers"):
            return [_described(info) for info in found if info["config"].get("durable_name")]


def _described(info: Json) -> Consumer:
    told = info["delivered"] if info["config"].get("ack_policy") == "none" else info["ack_floor"]
    return Consumer(info["config"], told["stream_seq"])


def _merged(kept: Iterable[Consumer], present: Iterable[Consumer]) -> list[Consumer]:
    """Return the consumers of both, each as far as it is known to have got."""
    merged = {consumer.config["name"]: consumer for consumer in kept}
    for consumer in present:
        former = merged.get(consumer.config["name"], consumer)
        merged[consumer.config["name"]] = Consumer(consumer.config, max(consumer.done, former.done))
    return list(merged.values())


async def _keep(nc: Client, keeping: str, subjects: Subjects, consumers: Iterable[Consumer]) -> None:
    subject = f"{subjects.prefix}.rebuild"
    await jetstream.call(
        nc,
        f"STREAM.CREATE.{keeping}",
        {"name": keeping, "subjects": [subject], "retention": "limits", "storage": "file"},
    )
    for consumer in consumers:
        await nc.jetstream().publish(subject, msgspec.json.encode(consumer), stream=keeping)


async def _kept(nc: Client, keeping: str) -> list[Consumer]:
    """Return what an interrupted rebuild kept; of a consumer that is there twice, the last one counts."""
    kept: list[Consumer] = []
    sequence = 1
    while found := await jetstream.message(nc, keeping, sequence, ">"):
        kept.append(msgspec.json.decode(found.body, type=Consumer))
        sequence = found.sequence + 1
    return kept


async def _restore(nc: Client, stream: str, consumer: Consumer) -> None:
    config: dict[str, Any] = dict(consumer.config)
    paused = config.pop("pause_until", None)
    by_place = config.get("deliver_policy", "all") in _BY_PLACE
    if not by_place:
        log.warning("consumer will start by sequence", stream=stream, consumer=config["name"])
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": consumer.done + 1}
    request = f"{stream}.{config['name']}"
    await jetstream.call(
        nc,
        f"CONSUMER.CREATE.{request}",
        {"stream_name": stream, "config": config | {"pause_until": _FOR_NOW}},
    )
    if by_place and consumer.done:
        await jetstream.call(nc, f"CONSUMER.RESET.{request}", {"seq": consumer.done + 1})
    until = {"pause_until": paused} if paused else {}
    await jetstream.call(nc, f"CONSUMER.PAUSE.{request}", until)
