"""The forms of settings: what no part of the service could use is refused, with an example."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

_URLS = {
    "postgres_url": (r"postgres(ql)?://.*|[^/]*=.*", "postgresql://user:password@host:5432/database"),
    "objects_url": (r"(file|s3):.*", "file:folder, or s3://prefix?endpoint=…&region=…"),
    "smtp_url": (r"smtps?://[^/]+.*", "smtp://user:password@host:587"),
    "otlp_endpoint": (r"(https?://[^/\s]+\S*)?", "http://host:4318"),
}
"""Where a server may be said to be, and an example."""
_PARTS = {
    "cors_origins": (r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", "https://console.example.com, or *"),
    "metrics_of": (r"[^=\s]+=https?://[^/\s]+\S*", "commands-1=http://127.0.0.1:9101/metrics"),
}
"""What each of several parts has to be, and an example."""

_ENCODE = "cannot be read: in a URL's user and password a blank is written %20, @ %40, / %2F, : %3A, % %25"

LONGEST = 100 * 365 * 24 * 3600.0
"""Seconds: a duration beyond a century is a slip of the pen, and dates and intervals overflow."""
MOST = 2**31 - 1
"""The largest count: PostgreSQL's `integer`."""
LARGEST = 2**62
"""The largest size, in bytes: NATS counts in 63 bits."""
_TOLD = 80
"""Characters of a wrong value that are told."""


def listed(text: str) -> list[str]:
    """Return the parts of a text with commas between them."""
    return [part.strip() for part in text.split(",")]


def check(name: str, value: object) -> None:
    """Raise ValueError, saying what would be right, where nobody could use `value` as the setting `name`."""
    match value:
        case float() if value > LONGEST:
            raise ValueError("must be a time in seconds, at most a century")
        case bool():
            pass
        case int() if value > (LARGEST if name.endswith("_bytes") else MOST):
            raise ValueError(f"must be at most {LARGEST if name.endswith('_bytes') else MOST}")
        case Path() if value == Path() or "\0" in str(value):
            raise ValueError("must name a file")
        case SecretStr() if name == "nats_url":
            _check_servers(value.get_secret_value())
        case SecretStr() | str():
            _check_text(name, value.get_secret_value() if isinstance(value, SecretStr) else value)
        case tuple() if name in _PARTS:
            _check_parts(name, cast(Iterable[str], value))
        case _:
            pass


def _check_text(name: str, text: str) -> None:
    if name in _URLS:
        form, example = _URLS[name]
        if not re.fullmatch(form, text):
            raise ValueError(f"must be a URL such as {example}")
        if name == "postgres_url":
            _check_postgres(text)
        if name == "smtp_url" and not _has_host(text):
            raise ValueError(_ENCODE)
    elif not text.strip() or not text.isprintable():
        raise ValueError("must be a text, not empty, without control characters")


def _check_postgres(text: str) -> None:
    """Refuse what libpq cannot read, or reads otherwise than it was meant. No part of it is told: any may be
    of a password."""
    try:
        given = conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        given = {}
    ports = str(given.get("port", ""))
    if given and re.fullmatch(r"[0-9,]*", ports) and "@" not in str(given.get("host", "")):
        return
    if "://" in text:
        raise ValueError(_ENCODE)
    raise ValueError("cannot be read: a value with blanks stands in quotes, such as password='two words'")


def _check_parts(name: str, parts: Iterable[str]) -> None:
    form, example = _PARTS[name]
    for part in parts:
        if not re.fullmatch(form, part):
            raise ValueError(f"{part[:_TOLD]!r} must be such as {example}")


def _check_servers(text: str) -> None:
    for number, server in enumerate(listed(text), 1):
        if not _is_nats_url(server):
            told = server.rpartition("@")[2][:_TOLD] or "which is empty"
            raise ValueError(
                f"server {number} ({told}) must be a URL such as nats://user:password@host:4222,"
                " each of several with its own, and commas between them; a password stands there as it is:"
                " it has neither blanks nor / or ,"
            )


def _is_nats_url(text: str) -> bool:
    if not text.isprintable() or not re.fullmatch(r"(nats|tls|wss?)://[^/\s]+/?|[^/\s]+", text):
        return False
    return _has_host(text if "://" in text else f"nats://{text}")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and len(parts.hostname) < 256 and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none
        return False
