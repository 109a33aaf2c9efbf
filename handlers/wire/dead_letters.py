"""A dead letter as a message: the one that was given up, with its headers and body, and why.

Its own headers stand as they were, so far as they can: one that would steer the server (`Nats-…`), that is
not plain ASCII, or has a name that is taken goes into `Dead-Letter-Headers`, a JSON object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from handlers.wire.headers import COMMAND_ID, MSG_ID

ID = "Dead-Letter-Id"
STREAM = "Dead-Letter-Stream"
SEQUENCE = "Dead-Letter-Sequence"
SUBJECT = "Dead-Letter-Subject"
REASON = "Dead-Letter-Reason"
TIME = "Dead-Letter-Time"
ERROR = "Dead-Letter-Error"
HEADERS = "Dead-Letter-Headers"
OMITTED = "Dead-Letter-Omitted"

ERASED = "body, which is erased"
"""What is omitted of a letter whose tenant's data is erased."""

LONGEST_ERROR = 64 * 1024
"""Bytes of a problem document in a header; of a longer one only the summary is kept."""

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


def token(text: str) -> str:
    """Return `text` as a token of a subject."""
    return _NOT_IN_TOKEN.sub("-", text) or "unknown"


def emptied(letter: DeadLetter) -> DeadLetter:
    """Return what of a letter tells of nobody, once its tenant's data is erased."""
    headers = {COMMAND_ID: letter.headers[COMMAND_ID]} if COMMAND_ID in letter.headers else {}
    return letter._replace(headers=headers, body=b"", error=_named(letter.error), omitted=ERASED)


def packed(letter: DeadLetter, largest: int) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the message, which together are not larger than `largest` bytes.

    Where they would be, its body is left out, and then its headers; they are still in the database.
    """
    for omitted in ("", "body", "headers, body"):
        headers = {} if "headers" in omitted else _carried(letter.headers)
        said = omitted or letter.omitted
        headers |= _about(letter) | ({OMITTED: said} if said else {})
        body = b"" if omitted else letter.body
        if _size(headers) + len(body) <= largest:
            return headers, body
    raise ValueError(f"dead letter {letter.id} does not fit into {largest} bytes")


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
