"""The JetStream streams of the service: made when missing, grown when too small, never weakened.

One of them is the key-value bucket of the live context, as clients make one.

An existing stream is compared field by field. What makes it stronger (more bytes, subjects, replicas) is
applied by an update that keeps every field this program does not know; what would weaken it is refused,
with the stream and the field named: an operator decides that, not a start of the service. The same is done
while the service runs (handlers/bus/stream_watch.py).
Any number of processes may declare at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import JetStreamError, Json
from handlers.bus.stream_rules import StreamWeakened, compared
from handlers.settings import Settings
from handlers.wire.subjects import Streams, Subjects

__all__ = [
    "Limits",
    "StreamWeakened",
    "Unsupported",
    "declare",
    "declare_one",
    "definitions",
    "limits_of",
    "recreate_events",
]

log = structlog.get_logger()

SECOND = 1_000_000_000
"""JetStream counts in nanoseconds."""

LARGEST_COMMAND = 512 * 1024
"""Bytes of a stored command, headers included. The contract's 256 KiB for a body are checked behind the
door, so that a larger one becomes a dead letter; beyond this the publisher is refused, so that a dead
letter, which carries a command and more, always fits the server's 1 MiB."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes of the streams; bytes and seconds, -1 or 0 for none.

    `partitions` is fixed once the stream exists: another number would send a tenant's next command to
    another partition than its last. TENANT_COMMANDS refuses publishers when it is full and drops nothing.
    TENANT_EVENTS keeps all by default; its limits cut off the oldest, which a rebuild brings back. Dead
    letters stay in PostgreSQL as well, so the oldest of their stream go first. `events_window` and
    `context_window` are small since the sequence is what keeps duplicates out, and every id in the window
    costs the server memory.
    """

    partitions: int = 64
    replicas: int = 1
    commands_max_bytes: int = 2 * 1024**3
    commands_window: float = 5.0
    events_max_bytes: int = -1
    events_max_age: float = 0
    events_window: float = 1.0
    context_window: float = 1.0
    dead_letters_max_bytes: int = 1024**3
    dead_letters_window: float = 3600.0
    advisories_max_bytes: int = 64 * 1024**2


def limits_of(settings: Settings) -> Limits:
    """Return the limits that the settings give."""
    return Limits(
        partitions=settings.partitions,
        replicas=settings.replicas,
        commands_max_bytes=settings.commands_max_bytes,
        dead_letters_max_bytes=settings.dead_letters_max_bytes,
    )


class Unsupported(Exception):
    """The server did not take a stream as the service needs it: too old, or another has the subjects."""


def definitions(subjects: Subjects, streams: Streams, limits: Limits) -> dict[str, Json]:
    """Return by name what each stream must be, in the API's own words; fields not named do not matter."""
    wanted = (
        _commands(subjects, streams, limits),
        _events(subjects, streams, limits),
        _context(streams, limits),
        _dead_letters(subjects, streams, limits),
        _advisories(streams, limits),
    )
    return {each["name"]: each for each in wanted}


def _commands(subjects: Subjects, streams: Streams, limits: Limits) -> Json:
    partition, tenant, command = f"partition({limits.partitions},1)", "wildcard(1)", "wildcard(2)"
    return _stream(
        streams.commands,
        [subjects.command("*", "*")],
        limits,
        discard="new",
        max_bytes=limits.commands_max_bytes,
        max_msg_size=LARGEST_COMMAND,
        duplicate_window=_nanoseconds(limits.commands_window),
        allow_atomic=True,
        persist_mode="default",
        subject_transform={
            "src": subjects.command("*", "*"),
            "dest": f"{subjects.prefix}.partitions.{{{{{partition}}}}}.{{{{{tenant}}}}}.{{{{{command}}}}}",
        },
    )


def _events(subjects: Subjects, streams: Streams, limits: Limits) -> Json:
    return _stream(
        streams.events,
        [f"{subjects.prefix}.events.>"],
        limits,
        max_bytes=limits.events_max_bytes,
        max_age=_nanoseconds(limits.events_max_age),
        duplicate_window=_nanoseconds(_within(limits.events_window, limits.events_max_age)),
        deny_delete=True,
        persist_mode=_refilled(limits),
    )


def _context(streams: Streams, limits: Limits) -> Json:
    """Return the stream that makes a key-value bucket, as clients know one."""
    return _stream(
        streams.context_stream,
        [streams.context_subject(">")],
        limits,
        max_msgs_per_subject=1,
        allow_rollup_hdrs=True,
        deny_delete=True,
        discard="new",
        duplicate_window=_nanoseconds(limits.context_window),
        persist_mode=_refilled(limits),
    )


def _dead_letters(subjects: Subjects, streams: Streams, limits: Limits) -> Json:
    return _stream(
        streams.dead_letters,
        [f"{subjects.prefix}.dead.>"],
        limits,
        max_bytes=limits.dead_letters_max_bytes,
        duplicate_window=_nanoseconds(limits.dead_letters_window),
        persist_mode="default",
    )


def _advisories(streams: Streams, limits: Limits) -> Json:
    return _stream(
        streams.advisories,
        _advisory_subjects(streams),
        limits,
        retention="workqueue",
        max_bytes=limits.advisories_max_bytes,
        persist_mode="default",
    )


def _refilled(limits: Limits) -> str:
    """Return how a stream persists that the log can fill again: what a power cut takes of it is written anew.

    The mode is for single copies only.
    """
    return "async" if limits.replicas == 1 else "default"


def _stream(name: str, subjects: list[str], limits: Limits, **fields: Any) -> Json:
    return {
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": limits.replicas,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_bytes": -1,
        "max_age": 0,
        "allow_direct": True,
        "sealed": False,
        "no_ack": False,
        **fields,
    }


def _advisory_subjects(streams: Streams) -> list[str]:
    watched = (streams.commands, streams.usage, streams.events)
    return [
        f"$JS.EVENT.ADVISORY.CONSUMER.{kind}.{stream}.*"
        for kind in ("MAX_DELIVERIES", "MSG_TERMINATED")
        for stream in watched
    ]


def _nanoseconds(seconds: float) -> int:
    return int(seconds * SECOND)


def _within(window: float, age: float) -> float:
    return min(window, age) if age > 0 else window


async def declare(nc: Client, subjects: Subjects, streams: Streams, limits: Limits) -> frozenset[str]:
    """Make the streams or bring the existing ones up to `limits`; return the names of the missing ones.

    Raises StreamWeakened, Unsupported, JetStreamError (a subject that another stream has, no
    space …), and nats-py's errors where the server does not answer.
    """
    missing = [
        name
        for name, wanted in definitions(subjects, streams, limits).items()
        if await declare_one(nc, wanted)
    ]
    return frozenset(missing)


async def recreate_events(
    nc: Client, subjects: Subjects, streams: Streams, limits: Limits, first: int = 1
) -> None:
    """Delete TENANT_EVENTS with all its messages and consumers, and make it again, to begin at `first`.

    It keeps the settings it had that this program does not know. Raises as `declare` does.
    """
    name = streams.events
    wanted = definitions(subjects, streams, limits)[name] | {"first_seq": first}
    former = await jetstream.stream_info(nc, name)
    config: Json = {**(former["config"] if former else {}), **wanted}
    while True:
        if await jetstream.stream_info(nc, name):
            await jetstream.call(nc, f"STREAM.DELETE.{name}")
        try:
            await jetstream.call(nc, f"STREAM.CREATE.{name}", config)
        except JetStreamError as error:
            if error.code != jetstream.NAME_IN_USE:
                raise
        else:
            return  # else a relay was quicker to make the missing stream, with another first sequence


async def declare_one(nc: Client, wanted: Json) -> bool:
    """Make or grow one stream; return whether it was missing. Raises as `declare` does."""
    name = wanted["name"]
    info = await jetstream.stream_info(nc, name)
    missing = info is None
    if info is None:
        info = await _create(nc, wanted)
    if growth := compared(info, wanted):
        log.info("stream grows", stream=name, fields=sorted(growth))
        info = await jetstream.call(nc, f"STREAM.UPDATE.{name}", info["config"] | growth)
        if left := compared(info, wanted):
            raise Unsupported(f"stream {name}: the server does not take {', '.join(sorted(left))}")
    return missing


async def _create(nc: Client, wanted: Json) -> Json:
    name = wanted["name"]
    try:
        info = await jetstream.call(nc, f"STREAM.CREATE.{name}", wanted)
    except JetStreamError as error:
        if error.code == jetstream.SUBJECTS_OVERLAP:
            raise Unsupported(
                f"stream {name}: another stream has its subjects ({', '.join(wanted['subjects'])}). A"
                " former version named streams alike for every TENANTS_SUBJECT_PREFIX: have its commands"
                " decided, and delete its streams; they are filled again."
            ) from error
        if error.code != jetstream.NAME_IN_USE:
            raise
        info = await jetstream.call(nc, f"STREAM.INFO.{name}")  # somebody else was quicker
    return info
