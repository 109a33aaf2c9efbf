"""The clock of whoever is given no other: what decides by the time gets it from outside, in tests too."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
