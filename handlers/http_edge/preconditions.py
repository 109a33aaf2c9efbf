"""Headers that make a request safe to repeat or conditional: Idempotency-Key, If-Match, If-None-Match."""

from __future__ import annotations

import re
from collections.abc import Collection
from uuid import UUID, uuid5

import msgspec
from litestar.datastructures import Headers

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
    keys = {_text(key) for key in headers.getall("idempotency-key", [])}
    if not keys:
        return None
    key = keys.pop()
    if keys or not 1 <= len(key) <= LONGEST_KEY:
        raise InvalidCommand.of("Idempotency-Key", f"must be one text of 1 to {LONGEST_KEY} characters")
    return key


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
    given = headers.getall("if-match", [])
    if not given or given == ["*"]:
        return None
    tags = ", ".join(given)
    if not _tags_only(tags):
        raise InvalidCommand.of("If-Match", 'must be entity tags such as "7", with commas between, or *')
    return [int(exact[1]) for exact in map(_version_tag, _each_tag(tags)) if exact]


def is_known(header: str | None, version: int) -> bool:
    """Return whether `If-None-Match` names this version (RFC 9110: a weak comparison)."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or f'"{version}"' in tags


def _text(header: str) -> str:
    """Return what the caller meant: UTF-8, or else the Latin-1 that HTTP says."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _of_caller(caller: Caller, key: str) -> str:
    return msgspec.json.encode([caller.tenant, caller.subject, key]).decode()
