"""Headers that make a request safe to repeat or conditional: Idempotency-Key, If-Match, If-None-Match."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

import msgspec
from litestar.datastructures import Headers

from handlers.http_edge.tokens import Caller
from tenant_domain.refusals import InvalidCommand

_COMMANDS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8b01")
_TENANTS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8b02")

LONGEST_KEY = 255

NO_VERSION = -1
"""Stands for an entity tag that no version of a tenant has."""

_any_tag = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"').fullmatch
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


def expected_version(header: str | None) -> int | None:
    """Return the version that `If-Match` demands; None for `*`, NO_VERSION for a tag that no version has."""
    if header is None or header == "*":
        return None
    if exact := _version_tag(header):
        return int(exact[1])
    if _any_tag(header):
        return NO_VERSION
    raise InvalidCommand.of("If-Match", 'must be one entity tag such as "7", or *')


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
