"""Ids as tokens of subjects, keys and paths, in a form that stock clients accept.

A key of a bucket may have `[-/_=.a-zA-Z0-9]`, and each `.` begins a token. An id of `[A-Za-z0-9_-]` alone
stands as it is, any other as `=` and its base64url: no id stands for another, and either form is read back.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

_SAFE = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_ENCODED = "="


def key_token(id: str) -> str:
    """Return an id as one token of a subject, a key or a path."""
    return id if _SAFE(id) else _ENCODED + urlsafe_b64encode(id.encode()).decode().rstrip("=")


def id_of_token(token: str) -> str:
    """Return the id that a token stands for. Raises ValueError for a token that is none."""
    if not token.startswith(_ENCODED):
        if not _SAFE(token):
            raise ValueError(f"{token!r} is not a token of an id")
        return token
    text = token.removeprefix(_ENCODED)
    return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
