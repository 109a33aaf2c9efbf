"""A dead letter as a message: the one that was given up, with its headers and body, and why.

Its own headers stand as they were, so far as they can: one that would steer the server (`Nats-…`), that is
not plain ASCII, or has a name that is taken goes into `Dead-Letter-Headers`, a JSON object. What the sender
made up himself is sealed like the body: nobody knows whom it names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from uuid import UUID

from handlers.wire.headers import COMMAND_ID, MSG_ID, OF_COMMANDS, REPLAY_OF, TRACEPARENT
from handlers.wire.sealing import DataKey, Keys, key_ids, opened_json
from tenant_domain.values import SEALED

ID = "Dead-Letter-Id"
STREAM = "Dead-Letter-Stream"
SEQUENCE = "Dead-Letter-Sequence"
SUBJECT = "Dead-Letter-Subject"
REASON = "Dead-Letter-Reason"
TIME = "Dead-Letter-Time"
ERROR = "Dead-Letter-Error"
HEADERS = "Dead-Letter-Headers"
OMITTED = "Dead-Letter-Omitted"
SEALED_HEADERS = "Dead-Letter-Sealed-Headers"

ERASED = "body, which is erased"
"""What is omitted of a letter whose tenant's data is erased."""

LONGEST_ERROR = 16 * 1024
"""Bytes of a problem document in a header; of a longer one only the summary is kept."""

LARGEST_HEADERS = 63 * 1024
"""Bytes of all headers of a message: JetStream refuses one with 64 KiB (error 10097). Those of a command that
came through may have more when they are written here, for what is not ASCII is escaped."""

_KNOWN = OF_COMMANDS | {REPLAY_OF, TRACEPARENT}
_CLOUD_EVENTS = "ce-"
"""Headers that events have as well, in plain text."""

_OWN = "dead-letter-"
_SERVER = "nats-"
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+").fullmatch
_PLAIN = re.compile(r"[!-~]([ -~]*[!-~])?").fullmatch
_NOT_IN_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")


class DeadLetter(NamedTuple):
    """A message that was given up. `error` is the problem document, `omitted` what was too large to carry."""

    id: str
    stream: str
    sequence: int
    subject: str
    reason: str
    time: str
    error: Any
    headers: Mapping[str, str]
    body: bytes
    omitted: str = ""


def sealed_headers(headers: Mapping[str, str], key: DataKey) -> dict[str, str]:
    """Return headers as a letter keeps them: those that we know as they are, all others sealed."""
    others = {name: value for name, value in headers.items() if not _is_known(name)}
    return known_headers(headers) | ({SEALED_HEADERS: key.token(others)} if others else {})


def _is_known(name: str) -> bool:
    return name in _KNOWN or name.startswith(_CLOUD_EVENTS)


def header_key_ids(headers: Mapping[str, str]) -> set[UUID]:
    """Return the id of the key that headers were sealed with, if any were."""
    return key_ids(json.dumps(headers.get(SEALED_HEADERS, "")).encode())


def known_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those that are kept in plain text."""
    return {name: value for name, value in headers.items() if _is_known(name)}


def opened_headers(headers: Mapping[str, str], keys: Keys) -> dict[str, str] | None:
    """Return headers as they were sent, or None where the key that sealed some of them is destroyed."""
    if SEALED_HEADERS not in headers:
        return dict(headers)
    others = json.loads(opened_json(json.dumps({SEALED: headers[SEALED_HEADERS]}).encode(), keys))
    return None if SEALED in others else known_headers(headers) | others


def token(text: str) -> str:
    """Return `text` as a token of a subject."""
    return _NOT_IN_TOKEN.sub("-", text) or "unknown"


def emptied(letter: DeadLetter) -> DeadLetter:
    """Return what of a letter tells of nobody, once its tenant's data is erased."""
    headers = {COMMAND_ID: letter.headers[COMMAND_ID]} if COMMAND_ID in letter.headers else {}
    return letter._replace(headers=headers, body=b"", error=_named(letter.error), omitted=ERASED)


def packed(letter: DeadLetter, largest: int) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the message, which together are not larger than `largest` bytes.

    What makes it too large is left out, and `Dead-Letter-Omitted` says what: headers, body or both, and at
    last all that is not needed to find the letter. It is still in the database.
    """
    for omitted in ("", "headers", "body", "headers, body"):
        headers = {} if "headers" in omitted else _carried(letter.headers)
        headers |= _about(letter) | _omitting(omitted or letter.omitted)
        body = b"" if "body" in omitted else letter.body
        size = _size(headers)
        if size <= LARGEST_HEADERS and size + len(body) <= largest:
            return headers, body
    return least(letter), b""


def least(letter: DeadLetter) -> dict[str, str]:
    """Return the headers of a message that says no more than where the letter is; it has no body."""
    found = letter._replace(subject="", error=_named(letter.error))
    return _about(found) | {ERROR: "{}"} | _omitting("headers, body, error, subject")


def _omitting(what: str) -> dict[str, str]:
    return {OMITTED: what} if what else {}


def _about(letter: DeadLetter) -> dict[str, str]:
    return {
        MSG_ID: letter.id,
        ID: letter.id,
        STREAM: letter.stream,
        SEQUENCE: str(letter.sequence),
        SUBJECT: json.dumps(letter.subject)[1:-1],
        REASON: token(letter.reason),
        TIME: letter.time,
        ERROR: _summary(letter.error),
    }


def _summary(error: Any) -> str:
    text = json.dumps(error)
    return text if len(text) <= LONGEST_ERROR else json.dumps(_named(error))


def _named(error: Any) -> Any:
    """Return of a problem document only what every problem of this name has."""
    if not isinstance(error, dict):
        return "…"
    problem = cast("dict[str, Any]", error)
    return {key: problem[key] for key in ("type", "title", "status") if key in problem}


def _carried(headers: Mapping[str, str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in headers.items():
        steers = name.lower().startswith((_OWN, _SERVER))
        fits = not steers and _NAME(name) and _PLAIN(value)
        (plain if fits else others)[name] = value
    return plain | ({HEADERS: json.dumps(others)} if others else {})


def _size(headers: Mapping[str, str]) -> int:
    return 16 + sum(len(name) + len(value) + 4 for name, value in headers.items())


def unpacked(headers: Mapping[str, str], body: bytes) -> DeadLetter:
    """Return the dead letter of a message. Raises KeyError and ValueError for a message that is none."""
    own = {name: value for name, value in headers.items() if not name.lower().startswith((_OWN, _SERVER))}
    return DeadLetter(
        id=headers[ID],
        stream=headers[STREAM],
        sequence=int(headers[SEQUENCE]),
        subject=json.loads(f'"{headers[SUBJECT]}"'),
        reason=headers[REASON],
        time=headers[TIME],
        error=json.loads(headers[ERROR]),
        headers=own | json.loads(headers.get(HEADERS, "{}")),
        body=body,
        omitted=headers.get(OMITTED, ""),
    )
