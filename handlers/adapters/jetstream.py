"""JetStream's own API, as JSON: for what nats-py's classes leave out or would drop on the way back.

An object that is read, changed and written here keeps every field that this program does not know.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.errors import NoRespondersError

from handlers.adapters import nats_rights

TIMEOUT = 5.0
"""Seconds for an answer of the server's API: it answers in milliseconds, or is not well."""

NAME_IN_USE = 10058
SUBJECTS_OVERLAP = 10065
CONSUMER_NOT_FOUND = 10014
STREAM_NOT_FOUND = 10059
NO_MESSAGE = 10037
DELETE_FAILED = 10057
"""Of a message: somebody else has deleted it meanwhile."""

Json = dict[str, Any]


class JetStreamError(Exception):
    """The server refused a request; `code` is JetStream's own error code, 0 where it gave none."""

    def __init__(self, request: str, code: int, description: str) -> None:
        super().__init__(f"{request}: {description} ({code})")
        self.code = code
        self.description = description


class StreamMessage(NamedTuple):
    """A message as a stream keeps it; `stored_at` is its time in nanoseconds, as the server counts them."""

    sequence: int
    subject: str
    headers: dict[str, str]
    body: bytes
    time: datetime
    stored_at: int


async def call(nc: Client, request: str, body: Mapping[str, Any] | None = None) -> Json:
    """Return the answer to `$JS.API.<request>`.

    Raises JetStreamError for a refusal, and nats-py's errors where no answer came (NotPermitted among them).
    """
    payload = b"" if body is None else msgspec.json.encode(body)
    try:
        answer = await nats_rights.request(nc, f"$JS.API.{request}", payload, TIMEOUT)
    except NoRespondersError:
        raise JetStreamError(request, 0, "JetStream does not answer: is it enabled?") from None
    content: Json = msgspec.json.decode(answer.data)
    if error := content.get("error"):
        raise JetStreamError(request, error.get("err_code", 0), error.get("description", "refused"))
    return content


async def stream_info(nc: Client, stream: str) -> Json | None:
    """Return `config` and `state` of a stream, with all their fields; None when there is no such stream."""
    try:
        return await call(nc, f"STREAM.INFO.{stream}")
    except JetStreamError as error:
        if error.code == STREAM_NOT_FOUND:
            return None
        raise


async def stream_names(nc: Client) -> set[str]:
    """Return the names of all streams of the account. Raises JetStreamError."""
    found: set[str] = set()
    while True:
        page = await call(nc, "STREAM.NAMES", {"offset": len(found)})
        names: list[str] = page.get("streams") or []
        found.update(names)
        if not names or len(found) >= page.get("total", 0):
            return found


async def subjects_of(nc: Client, stream: str) -> set[str]:
    """Return all subjects that a stream has messages of. Raises JetStreamError."""
    found: set[str] = set()
    while True:
        page = await call(nc, f"STREAM.INFO.{stream}", {"subjects_filter": ">", "offset": len(found)})
        found |= (page["state"].get("subjects") or {}).keys()
        if len(found) >= page.get("total", 0):
            return found


async def message(nc: Client, stream: str, sequence: int, next_of: str | None = None) -> StreamMessage | None:
    """Return the message at `sequence`, or the first from there on with a subject like `next_of`; or None."""
    wanted: Json = {"seq": sequence}
    if next_of is not None:
        wanted["next_by_subj"] = next_of
    return await _message(nc, stream, wanted)


async def last_message(nc: Client, stream: str, subject: str) -> StreamMessage | None:
    """Return the last message with a subject like `subject`; None when there is none."""
    return await _message(nc, stream, {"last_by_subj": subject})


async def _message(nc: Client, stream: str, wanted: Json) -> StreamMessage | None:
    try:
        found = (await call(nc, f"STREAM.MSG.GET.{stream}", wanted))["message"]
    except JetStreamError as error:
        if error.code in (NO_MESSAGE, STREAM_NOT_FOUND):
            return None
        raise
    return StreamMessage(
        found["seq"],
        found["subject"],
        parsed_headers(b64decode(found.get("hdrs", ""))),
        b64decode(found.get("data", "")),
        msgspec.convert(found["time"], datetime),
        nanoseconds(found["time"]),
    )


def nanoseconds(time: str) -> int:
    """Return a time of the server (RFC 3339, UTC) in nanoseconds, for which a datetime has no room."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def parsed_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a raw block; of one that stands there twice, the first."""
    headers: dict[str, str] = {}
    for line in block.decode(errors="surrogateescape").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name, value.strip())
    return headers
