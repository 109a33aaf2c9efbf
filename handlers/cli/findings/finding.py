"""What a check of `tenantctl doctor` found."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "look", "broken"]
"""`broken` needs somebody, `look` may."""


class Finding(NamedTuple):
    """What was looked at, how it is, what was seen, and what to do."""

    what: str
    state: State
    found: str
    advice: str | None = None
