"""Values: the types that commands and events are made of, and the ids that derive from others."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from hashlib import sha1
from typing import Annotated, Any, TypeAlias
from uuid import UUID, uuid5

import msgspec
from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema

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

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_EMAIL = re.compile(
    r"[^@\s\x00-\x1f\x7f]{1,64}@(?=.{3,253}\Z)"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?:[A-Za-z]{2,63}|xn--[A-Za-z0-9-]{0,58}[A-Za-z0-9])"
)

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_canonical = msgspec.json.Encoder(order="deterministic").encode

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

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
    """Return `name` when it is 1–200 characters, not blank and free of control characters."""
    unsealed(name)
    if not name.strip():
        raise ValueError("must not be blank")
    if len(name) > 200:
        raise ValueError("must have at most 200 characters")
    if _CONTROL.search(name):
        raise ValueError("must not contain control characters")
    return name


def checked_subdomain(label: str) -> str:
    """Return `label` when it is a lower-case DNS label of 1–63 characters (RFC 1123)."""
    if not _LABEL.fullmatch(label):
        raise ValueError("must be a DNS label: 1–63 of a–z, 0–9 and inner hyphens")
    return label


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

    Numbers are those of a double: no infinity, no NaN, integers below 2^63 in size.
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
            for key, inner in value.items():
                checked_text(key)
                checked_json(inner, depth - 1)
        case list():
            for inner in value:
                checked_json(inner, depth - 1)
        case _:
            pass
    return value


def checked_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Return `metadata` when all its keys and values can be stored."""
    for key, value in metadata.items():
        checked_text(key)
        checked_text(value)
    return metadata


# What a JSON Schema can say of the checks; the checks themselves say what is wrong in words.
_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"\S"}
_LABEL_SCHEMA = {"type": "string", "pattern": f"^{_LABEL.pattern}$"}
_EMAIL_SCHEMA = {"type": "string", "format": "email", "maxLength": 318}

Name = Annotated[str, AfterValidator(checked_name), WithJsonSchema(_NAME_SCHEMA)]
Subdomain = Annotated[str, AfterValidator(checked_subdomain), WithJsonSchema(_LABEL_SCHEMA)]
Email = Annotated[str, AfterValidator(checked_email), WithJsonSchema(_EMAIL_SCHEMA)]
Reason = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(checked_text)]
Metadata = Annotated[dict[str, str], AfterValidator(checked_metadata)]
Settings = Annotated[dict[str, JsonValue], AfterValidator(checked_json)]


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
