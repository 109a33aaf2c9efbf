"""Keys of JSON objects: readers differ in which of two equal ones they take, so none may be repeated."""

from __future__ import annotations

import json
from typing import Any


class RepeatedKey(Exception):
    """A key stands twice in one object; `key` says which."""

    def __init__(self, key: str) -> None:
        super().__init__("stands in it twice")
        self.key = key


def check_keys(text: bytes) -> None:
    """Raise RepeatedKey where an object of a JSON text has a key twice; the text is JSON."""
    json.loads(text, object_pairs_hook=_distinct)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RepeatedKey(key)
        found[key] = value
    return found
