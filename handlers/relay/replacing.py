"""TENANT_EVENTS deleted and made again, with its durable consumers; whoever relays fills it from the log.

A consumer is made again with the configuration it had, paused, set behind the last message up to which it had
acknowledged all, and let go: what it acknowledged out of order beyond that comes once more. JetStream can set
only consumers back that deliver from a given place; one that delivers only what is new (or last) becomes one
that starts at its sequence.

Between the deletion of the stream and the return of its consumers, they stand in a stream of their own,
so that a rebuild that was interrupted is finished by the next one, or by a relay that finds what it left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from handlers.adapters import jetstream
from handlers.adapters.jetstream import JetStreamError, Json
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

Recreate = Callable[[int], Awaitable[None]]
"""Deletes the stream and makes it again, to begin at the given sequence."""

_FOR_NOW = "2999-01-01T00:00:00Z"
"""How long a consumer is paused while it is put back: what it says of itself is nobody's wish."""

ABANDONED = 60.0
"""Seconds after which a replacement that came to no end has died: it takes a few."""

LOOK = 30.0
"""Seconds between two looks for such a one."""

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


async def finish(nc: Client, stream: str) -> bool:
    """Put back the consumers of a replacement that died after it had deleted the stream.

    Returns whether there was one. Raises JetStreamError, and nats-py's errors.
    """
    keeping = f"{stream}_REBUILD"
    left = await jetstream.stream_info(nc, keeping)
    if left is None or _age(left) < ABANDONED or await jetstream.stream_info(nc, stream) is None:
        return False
    kept = await _kept(nc, keeping)
    names = {consumer.config["name"] for consumer in kept}
    consumers = [each for each in _merged(kept, await _consumers(nc, stream)) if each.config["name"] in names]
    for consumer in consumers:
        await _restore(nc, stream, consumer)
    await jetstream.call(nc, f"STREAM.DELETE.{keeping}")
    log.warning("consumers put back, whose stream was made anew by one that died", consumers=sorted(names))
    return True


async def watch(nc: Client, stream: str) -> None:
    """Look for a replacement that died, now and then, for ever."""
    while True:
        try:
            await finish(nc, stream)
        except (JetStreamError, NatsError, OSError) as error:
            log.debug("not looked for consumers to be put back", error=repr(error))
        await asyncio.sleep(LOOK)


def _age(info: Json) -> float:
    """Return for how many seconds nothing was written to a stream, by the server's own clock."""
    last = info["state"]["last_ts"] if info["state"]["messages"] else info["created"]
    return (jetstream.nanoseconds(info["ts"]) - jetstream.nanoseconds(last)) / 1e9


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
        config = former.config if consumer.config.get("pause_until") == _FOR_NOW else consumer.config
        merged[consumer.config["name"]] = Consumer(config, max(consumer.done, former.done))
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
