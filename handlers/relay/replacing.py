"""TENANT_EVENTS deleted and made again, with its durable consumers; whoever relays fills it from the log.

A consumer is made again with the configuration it had, paused, set behind the last message up to which it had
acknowledged all, and let go: what it acknowledged out of order beyond that comes once more. JetStream can set
only consumers back that deliver from a given place; one that delivers only what is new (or last) becomes one
that starts at its sequence.

Between the deletion of the stream and the return of its consumers, they stand in a stream of their own,
so that a rebuild that was interrupted is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

Recreate = Callable[[int], Awaitable[None]]
"""Deletes the stream and makes it again, to begin at the given sequence."""

_FOR_NOW = "2999-01-01T00:00:00Z"
_BY_PLACE = ("all", "by_start_sequence", "by_start_time")


class Consumer(msgspec.Struct, frozen=True):
    """A durable consumer: its configuration, and the sequence up to which it needs nothing more."""

    config: Json
    done: int


async def replace(
    nc: Client, subjects: Subjects, stream: str, recreate: Recreate, first: int, *, same: int | None = None
) -> None:
    """Make the stream anew, empty, from position `first` on.

    `same` is the position up to which it will hold what it held: a consumer that was further is set back to
    there, since what comes is new to it. Raises JetStreamError, and nats-py's errors: call it again then.
    """
    keeping = f"{stream}_REBUILD"
    consumers = _merged(await _kept(nc, keeping), await _consumers(nc, stream))
    if same is not None:
        consumers = [Consumer(each.config, min(each.done, same)) for each in consumers]
    await _keep(nc, keeping, subjects, consumers)
    await recreate(first)
    for consumer in consumers:
        await _restore(nc, stream, consumer)
    await jetstream.call(nc, f"STREAM.DELETE.{keeping}")


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
