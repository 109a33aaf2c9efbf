"""What a call of the client is given: what cannot be meant is refused before anything is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from handlers.client.errors import InvalidArgument
from tenant_domain.event_types import known_types

LAST_POSITION = 2**63 - 1
"""The largest position that NATS counts to."""

_LONGEST = 100
"""Characters that are told of a value that does not fit."""

_token = re.compile(r"[^\s.*>]+").fullmatch
_prefix = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*").fullmatch
_server = re.compile(r"(?:(?:nats|tls|wss?)://)?[^/\s]+/?").fullmatch


def id_of(value: object, name: str = "tenant_id") -> UUID:
    """Return the id that is given as a UUID or a text. Raises InvalidArgument."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            pass
    advice = "; `by_subdomain` finds a tenant by its subdomain" if name == "tenant_id" else ""
    raise InvalidArgument(f"{name} must be a UUID, not {_told(value)}{advice}")


def seconds_of(value: object, name: str = "timeout") -> float:
    """Return a time in seconds. Raises InvalidArgument for none, for NaN, and for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidArgument(f"{name} must be a number of seconds above 0, not {_told(value)}")
    return value


def whole_of(value: object, name: str, least: int = 0) -> int:
    """Return a position or a version. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LAST_POSITION:
        raise InvalidArgument(f"{name} must be a whole number, {least} or more, not {_told(value)}")
    return value


def types_of(value: object) -> list[str] | None:
    """Return the types of events that are asked for, sorted; None, for all of them, stays None.

    Raises InvalidArgument for what is no collection of names, or an empty one, and UnknownType.
    """
    if value is None:
        return None
    several = isinstance(value, Iterable) and not isinstance(value, str)
    names = list(cast(Iterable[Any], value)) if several else []
    if not names or not all(isinstance(each, str) for each in names):
        form = "must be a list of names such as ['tenant.activated'], or None for all"
        raise InvalidArgument(f"types {form}, not {_told(cast(object, value))}")
    return known_types(names)


def token_of(value: object, name: str) -> str:
    """Return what becomes the last token of a subject. Raises InvalidArgument."""
    if not isinstance(value, str) or not _token(value) or not value.isprintable():
        raise InvalidArgument(f"{name} must be a name such as update_profile, not {_told(value)}")
    return value


def prefix_of(value: object) -> str:
    """Return the prefix of all subjects. Raises InvalidArgument."""
    if not isinstance(value, str) or not _prefix(value) or not value.isprintable():
        raise InvalidArgument(f"prefix must be a subject such as tenants, not {_told(value)}")
    return value


def header_of(value: object, name: str) -> str:
    """Return what goes into a header as it is. Raises InvalidArgument."""
    if not isinstance(value, str) or "\r" in value or "\n" in value or not _encodable(value):
        raise InvalidArgument(f"{name} must be a text without a line break, not {_told(value)}")
    return value


def json_of(value: object, name: str) -> bytes:
    """Return a JSON object. Raises InvalidArgument for what JSON cannot say."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{name} must be an object with the fields as keys, not {_told(value)}")
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument(f"{name} cannot be written as JSON: {error}") from None
    if b"null" in text and _has_odd_number(cast(object, value)):
        raise InvalidArgument(f"{name} has a number that JSON does not know: NaN or an infinite one")
    return text


def servers_of(value: object) -> list[str]:
    """Return the URLs of the servers, of which a text may name several with commas between them.

    Raises InvalidArgument, which tells no URL: it may have a password in it.
    """
    given: object = value.split(",") if isinstance(value, str) else value
    servers = list(cast(Sequence[object], given)) if isinstance(given, list | tuple) else []
    if not servers:
        raise InvalidArgument("url must be a text such as nats://host:4222, or a list of them")
    return [_server_of(each, number) for number, each in enumerate(servers, 1)]


def _server_of(value: object, number: int) -> str:
    url = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        fits = _server(url) is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        fits = False
    if not fits:
        form = "such as nats://user:password@host:4222; nats, tls, ws and wss are known"
        raise InvalidArgument(f"server {number} of the url must be {form}")
    return url


def _told(value: object) -> str:
    """Return a value as it is told; it may have any length."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _encodable(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _has_odd_number(value: object) -> bool:
    """Return whether a number in `value` is none, or infinite: it would be written as null."""
    match value:
        case float():
            return not math.isfinite(value)
        case Mapping():
            return any(_has_odd_number(each) for each in cast(Mapping[Any, object], value).values())
        case list() | tuple() | set() | frozenset():
            return any(_has_odd_number(each) for each in cast(Iterable[object], value))
        case _:
            return False
