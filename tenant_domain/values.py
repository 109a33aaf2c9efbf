"""Values: the types that commands and events are made of, and the ids that derive from others."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from hashlib import sha1
from typing import Annotated, Any, TypeAlias
from uuid import UUID, uuid5

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, WithJsonSchema

_PERSONAL = msgspec.Meta(extra={"personal": True}, extra_json_schema={"x-personal": True})

Personal = Annotated[str, _PERSONAL]
"""A text in an event or a state that may tell of a person. It is stored sealed, as a token that begins with
SEALED, so that the end of the tenant's key makes it unreadable everywhere."""

SEALED = "sealed:"
"""What a sealed value begins with; nobody may send a text that does."""

Json: TypeAlias = Any
"""A JSON value inside an event: decoded as it stands."""

PersonalTexts = Annotated[dict[str, str], _PERSONAL]
PersonalObject = Annotated[dict[str, Json], _PERSONAL]
"""A JSON object that may tell of a person, its keys too. It is stored sealed as one value: an object whose
only key is SEALED, with a token. An empty one tells of nobody, and stays as it is."""

LONGEST_KEY = 255
MOST_KEYS = 16_384
"""Bounds of objects and lists that a tenant brings along: what is stored is walked through many times."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_EMAIL = re.compile(
    r"[^@\s\x00-\x1f\x7f]{1,64}@(?=.{3,253}$)"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?:[A-Za-z]{2,63}|xn--[A-Za-z0-9-]{0,58}[A-Za-z0-9])"
)

_USER_ID = re.compile(r"(?=[._:@|+-]*[A-Za-z0-9])[A-Za-z0-9._:@|+-]{1,128}")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_canonical = msgspec.json.Encoder(order="deterministic").encode

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
"""Characters that no name has: Cc, separators of lines and paragraphs, and those that turn the direction of
what follows, also beyond the name."""
_CONTROL = re.compile(rf"[{_CONTROLS}\ud800-\udfff]")

_VISIBLE = (
    rf"[^\s{_CONTROLS}\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u2800\u3164"
    "\\ufe00-\\ufe0f\\ufeff\\uffa0\U000e0000-\U000e0fff]"
)
"""A character that is shown: neither white space, nor a Default_Ignorable_Code_Point, nor empty Braille."""
_visible = re.compile(_VISIBLE).search

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")

_SUBDOMAINS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8a01")
_OPERATIONS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8a02")


class Status(StrEnum):
    """Where a tenant is in its life."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    PENDING_DELETION = "pending_deletion"
    PURGING = "purging"
    DELETED = "deleted"
    FAILED = "failed"


def unsealed(text: str) -> str:
    """Return `text` when it does not look like a sealed value: a token must come from us alone."""
    if text.startswith(SEALED):
        raise ValueError(f"must not begin with {SEALED}")
    return text


def checked_name(name: str) -> str:
    """Return `name` when it is 1–200 characters, shows something, and is free of control characters."""
    unsealed(name)
    _check_visible(name)
    if len(name) > 200:
        raise ValueError("must have at most 200 characters")
    if _CONTROL.search(name):
        raise ValueError("must not contain control characters")
    return name


def _check_visible(text: str) -> None:
    if not _visible(text):
        raise ValueError("must not be blank")


def checked_reason(reason: str) -> str:
    """Return `reason` when it can be stored, and somebody can read it."""
    _check_visible(reason)
    return checked_text(reason)


def hyphenated(value: Any) -> UUID:
    """Return the id that a hyphenated UUID names, in any case; other ways to write one are refused."""
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError("must be a hyphenated UUID")
    return UUID(value)


def checked_subdomain(label: str) -> str:
    """Return `label` when it is a lower-case DNS label of 1–63 characters (RFC 1123)."""
    if not _LABEL.fullmatch(label):
        raise ValueError("must be a DNS label: 1–63 of a–z, 0–9 and inner hyphens")
    return label


def checked_user_id(user_id: str) -> str:
    """Return `user_id` when it is 1–128 characters such as identity providers use, with a letter or digit.

    So it names something in a subject, a key or a path, once it is encoded.
    """
    unsealed(user_id)
    if not _USER_ID.fullmatch(user_id):
        raise ValueError("must be 1–128 of A–Z, a–z, 0–9 and . _ : @ | + -, with a letter or a digit")
    return user_id


def checked_email(address: str) -> str:
    """Return `address` when it is well formed: local part, @, and a domain with a dot."""
    unsealed(address)
    if not _EMAIL.fullmatch(address) or _LONE_SURROGATE.search(address):
        raise ValueError("must be an e-mail address such as ada@example.com")
    return address


def checked_text(text: str) -> str:
    """Return `text` when it can be stored: Unicode without NUL, without lone surrogates, and not sealed."""
    unsealed(text)
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    if _LONE_SURROGATE.search(text):
        raise ValueError("must not contain a lone surrogate")
    return text


def checked_json(value: JsonValue, depth: int = 32) -> JsonValue:
    """Return `value` when it nests at most `depth` deep, and can be stored and read back as it is.

    Numbers are those of a double: no infinity, no NaN, integers below 2^63 in size, which are kept
    as they are; a caller in JavaScript, which reads a neighbour of some beyond 2^53, sends such as texts.
    """
    if depth == 0:
        raise ValueError("is nested too deep")
    match value:
        case str():
            checked_text(value)
        case float() if not math.isfinite(value):
            raise ValueError("must not contain NaN or an infinity")
        case int() if abs(value) >= 2**63:
            raise ValueError("must not contain an integer of 2^63 or more")
        case dict():
            _check_count(value)
            for key, inner in value.items():
                checked_key(key)
                checked_json(inner, depth - 1)
        case list():
            _check_count(value)
            for inner in value:
                checked_json(inner, depth - 1)
        case _:
            pass
    return value


def checked_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Return `metadata` when all its keys and values can be stored, and it has no more than `MOST_KEYS`."""
    _check_count(metadata)
    for key, value in metadata.items():
        checked_key(key)
        checked_text(value)
    return metadata


def checked_key(key: str) -> str:
    """Return the key of an object when it can be stored, and has 255 characters at most."""
    if len(key) > LONGEST_KEY:
        raise ValueError(f"must not have a key of more than {LONGEST_KEY} characters")
    return checked_text(key)


def _check_count(items: dict[str, Any] | list[Any]) -> None:
    if len(items) > MOST_KEYS:
        raise ValueError(f"must have at most {MOST_KEYS} keys or items")


# What a JSON Schema can say of the checks; the checks themselves say what is wrong in words.
_NOT_SEALED = f"(?!{SEALED})"
STORABLE = rf"^{_NOT_SEALED}[^\x00]*$"
_LINE = rf"^{_NOT_SEALED}[^{_CONTROLS}]*{_VISIBLE}[^{_CONTROLS}]*$"
_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": _LINE}
_REASON_SCHEMA: dict[str, Any] = {"pattern": rf"^{_NOT_SEALED}[^\x00]*{_VISIBLE}[^\x00]*$"}
_KEYS_SCHEMA: dict[str, Any] = {
    "maxProperties": MOST_KEYS,
    "propertyNames": {"maxLength": LONGEST_KEY, "pattern": STORABLE},
}
_TEXTS_SCHEMA: dict[str, Any] = {
    **_KEYS_SCHEMA,
    "additionalProperties": {"type": "string", "pattern": STORABLE},
}
_OBJECT_SCHEMA: dict[str, Any] = {
    **_KEYS_SCHEMA,
    "description": "Nested at most 31 deep, with the same bounds inside; integers below 2^63. JavaScript "
    "does not hold every integer beyond 2^53: send such as texts.",
}
_LABEL_SCHEMA = {"type": "string", "pattern": f"^{_LABEL.pattern}$"}
_EMAIL_SCHEMA = {"type": "string", "format": "email", "pattern": rf"^{_NOT_SEALED}{_EMAIL.pattern}$"}
_USER_ID_SCHEMA = {"type": "string", "pattern": f"^{_NOT_SEALED}{_USER_ID.pattern}$"}

Name = Annotated[str, AfterValidator(checked_name), WithJsonSchema(_NAME_SCHEMA)]
Subdomain = Annotated[str, AfterValidator(checked_subdomain), WithJsonSchema(_LABEL_SCHEMA)]
Email = Annotated[str, AfterValidator(checked_email), WithJsonSchema(_EMAIL_SCHEMA)]
UserId = Annotated[str, AfterValidator(checked_user_id), WithJsonSchema(_USER_ID_SCHEMA)]
Reason = Annotated[
    str,
    Field(min_length=1, max_length=1000, json_schema_extra=_REASON_SCHEMA),
    AfterValidator(checked_reason),
]
Id = Annotated[UUID, BeforeValidator(hyphenated)]
Metadata = Annotated[dict[str, str], Field(json_schema_extra=_TEXTS_SCHEMA), AfterValidator(checked_metadata)]
Settings = Annotated[
    dict[str, JsonValue], Field(json_schema_extra=_OBJECT_SCHEMA), AfterValidator(checked_json)
]


def same_json(one: Json, other: Json) -> bool:
    """Return whether two JSON values are the same; unlike in Python, true is not 1."""
    return _canonical(one) == _canonical(other)


def json_size(value: Json) -> int:
    """Return how many bytes a JSON value has."""
    return len(_canonical(value))


def subdomain_stream(label: str) -> UUID:
    """Return the id of the stream that says who holds the subdomain `label`."""
    return uuid5(_SUBDOMAINS, label)


def operation_id_of(tenant_id: UUID, command_id: UUID) -> UUID:
    """Return the id of the operation that a command starts: the same for the same command."""
    name = _OPERATIONS.bytes + tenant_id.bytes + command_id.bytes
    return UUID(bytes=sha1(name, usedforsecurity=False).digest()[:16], version=5)


def member_stream(tenant_id: UUID, user_id: str) -> UUID:
    """Return the id of the stream of one user's membership in one tenant."""
    return uuid5(tenant_id, f"member:{user_id}")


def invitation_id_of(operation_id: UUID) -> UUID:
    """Return the id of the invitation that a provisioning sends to the tenant's first admin."""
    return uuid5(operation_id, "admin-invitation")
