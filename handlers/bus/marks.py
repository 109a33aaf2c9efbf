"""Whose streams these are: each carries the identity of the log that it belongs to, in its metadata.

A service that is pointed at the streams of another database would wait for ever, or fill them with what is
not theirs. So whoever declares the streams looks at their marks, and refuses those of another log. Streams
without a mark (a former version made them, or they are new) get one, where that of events holds what the log
has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.store.identity import LogIdentity

log = structlog.get_logger()

Holds = Callable[[Json], Awaitable[bool]]
"""Whether the stream of events, as the server describes it, holds what the log has and nothing else."""

_ADVICE = (
    "Correct TENANTS_POSTGRES_URL or TENANTS_NATS_URL; a second service on one NATS needs a"
    " TENANTS_SUBJECT_PREFIX of its own. Where this database is to take the place of the other for good:"
    " `tenantctl events rebuild --adopt`."
)


class ForeignStreams(Exception):
    """The streams were made from another log than that of this service's database."""


async def settle(nc: Client, events: str, names: Iterable[str], identity: LogIdentity, holds: Holds) -> None:
    """Mark the streams of these `names`, of which `events` is one, as those of the log `identity`.

    Those that are missing are passed over. Raises ForeignStreams, JetStreamError, and nats-py's errors.
    """
    infos = {name: info for name in names if (info := await jetstream.stream_info(nc, name))}
    marks = {name: mark_of(info) for name, info in infos.items()}
    for name, mark in marks.items():
        if mark is not None and mark.log != identity.log:
            raise ForeignStreams(
                f"The stream {name} belongs to the log {mark.log}, and the database of TENANTS_POSTGRES_URL"
                f" holds the log {identity.log}. {_ADVICE}"
            )
    doubtful = any(mark is None or not identity.follows(mark) for mark in marks.values() if mark != identity)
    if doubtful and events in infos and not await holds(infos[events]):
        mark = marks[events]
        whose = "carries no mark of a log" if mark is None else "was filled from a copy of it elsewhere"
        raise ForeignStreams(
            f"The stream {events} {whose}, and holds what the log {identity.log} of the database of"
            f" TENANTS_POSTGRES_URL does not have. {_ADVICE}"
        )
    for name, info in infos.items():
        if marks[name] != identity:
            await _mark(nc, info, identity)


async def adopt(nc: Client, names: Iterable[str], identity: LogIdentity) -> None:
    """Mark the streams of these `names` as those of the log `identity`, whatever they hold."""
    for name in names:
        if info := await jetstream.stream_info(nc, name):
            await _mark(nc, info, identity)


def mark_of(info: Json) -> LogIdentity | None:
    """Return the log that a stream belongs to, as its mark says; None without one."""
    return LogIdentity.of(info["config"].get("metadata"))


async def _mark(nc: Client, info: Json, identity: LogIdentity) -> None:
    config: Json = info["config"]
    former: dict[str, str] = config.get("metadata") or {}
    changed = {**config, "metadata": {**former, **identity.metadata()}}
    await jetstream.call(nc, f"STREAM.UPDATE.{config['name']}", changed)
    log.info("stream marked", stream=config["name"], **identity.metadata())
