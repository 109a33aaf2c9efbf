"""Headers that make a request safe to repeat or conditional: Idempotency-Key, If-Match, If-None-Match."""

from __future__ import annotations

import re
from collections.abc import Collection
from uuid import UUID, uuid5

import msgspec
from litestar.datastructures import Headers

from handlers.execution.decode import ANY_VERSION
from handlers.http_edge.tokens import Caller
from tenant_domain.refusals import InvalidCommand

_COMMANDS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8b01")
_TENANTS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8b02")

LONGEST_KEY = 255


_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_tags_only = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*").fullmatch
_each_tag = re.compile(_TAG).findall
_version_tag = re.compile(r'"(0|[1-9][0-9]{0,17})"').fullmatch


def idempotency_key(headers: Headers) -> str | None:
    """Return the caller's key. Raises InvalidCommand when there are several, or it is empty or too long."""
    keys = headers.getall("idempotency-key", [])
    if not keys:
        return None
    key = _text(keys[0])
    if len(keys) > 1 or not 1 <= len(key) <= LONGEST_KEY:
        raise InvalidCommand.of("Idempotency-Key", f"must be one text of 1 to {LONGEST_KEY} characters")
    return key


def once(headers: Headers, name: str) -> str | None:
    """Return a header that may stand there once. Raises InvalidCommand where it stands there twice."""
    values = headers.getall(name, [])
    if len(values) > 1:
        raise InvalidCommand.of(name, "must stand there once")
    return values[0] if values else None


def command_id(caller: Caller, key: str) -> UUID:
    """Return the command id that stands for a caller's key; no other caller's key gives the same."""
    return uuid5(_COMMANDS, _of_caller(caller, key))


def tenant_id(caller: Caller, key: str) -> UUID:
    """Return the id of the tenant that a request with this key makes."""
    return uuid5(_TENANTS, _of_caller(caller, key))


def expected_versions(headers: Headers) -> Collection[int] | None:
    """Return the versions that `If-Match` allows; None for any, where it is `*` or not there.

    A weak tag, and one that no version has, allows none (RFC 9110: a strong comparison).
    """
    tags = _tags(headers, "If-Match")
    if tags is None or tags == ["*"]:
        return None
    return [int(exact[1]) for exact in map(_version_tag, tags) if exact]


def other_versions(headers: Headers) -> Collection[int]:
    """Return the versions that `If-None-Match` names: of a tenant that is at one of them it is not fulfilled.

    A weak tag is that of its version (RFC 9110: a weak comparison); `*` is any. Raises InvalidCommand.
    """
    tags = _tags(headers, "If-None-Match")
    if tags is None:
        return ()
    if tags == ["*"]:
        return (ANY_VERSION,)
    return [int(exact[1]) for tag in tags if (exact := _version_tag(tag.removeprefix("W/")))]


def is_known(headers: Headers, version: int) -> bool:
    """Return whether `If-None-Match` of a read names this version; one that is none names nothing."""
    try:
        return not {version, ANY_VERSION}.isdisjoint(other_versions(headers))
    except InvalidCommand:
        return False


def _tags(headers: Headers, name: str) -> list[str] | None:
    """Return the entity tags in a header, `*` alone, or None where it is not there. Raises InvalidCommand."""
    given = headers.getall(name.lower(), [])
    if not given:
        return None
    if [each.strip() for each in given] == ["*"]:
        return ["*"]
    tags = ", ".join(given)
    if not _tags_only(tags):
        raise InvalidCommand.of(name, 'must be entity tags such as "7", with commas between, or *')
    return _each_tag(tags)


def _text(header: str) -> str:
    """Return what the caller meant: UTF-8, or else the Latin-1 that HTTP says."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _of_caller(caller: Caller, key: str) -> str:
    return msgspec.json.encode([caller.tenant, caller.subject, key]).decode()
