"""Names of event types as people write them: a mistyped one is refused, with what was meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from tenant_domain.registry import EVENTS

_MEANT, _MISTYPED = 0.6, 0.9
"""How alike two names are, of 1: one may have been meant; one was surely mistyped."""


class UnknownType(ValueError):
    """No event has this name."""


def known_types(names: Collection[str]) -> list[str]:
    """Return the names, sorted. Raises UnknownType, with the nearest name, for one that no event has."""
    for name in names:
        if name not in EVENTS:
            near = get_close_matches(name, EVENTS, 1, _MEANT)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise UnknownType(f"{name!r} is no type of event{meant}")
    return sorted(set(names))


def not_mistyped(name: str) -> str:
    """Return `name`, also one that a newer version may know. Raises UnknownType for a slip of the pen."""
    if name not in EVENTS and (near := get_close_matches(name, EVENTS, 1, _MISTYPED)):
        raise UnknownType(f"{name!r} is no type of event; did you mean {near[0]}?")
    return name
