"""News of a run: what was committed, for hints, figures and the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias
from uuid import UUID

from tenant_domain.decision import NewEvent


class News(NamedTuple):
    """Events of one run that were committed together."""

    tenant_id: UUID
    operation_id: UUID
    kind: str
    events: tuple[NewEvent, ...]


Tell: TypeAlias = Callable[[int, list[News]], Awaitable[None]]
"""Hears of every commit, with the log's end after it. It must not raise."""
