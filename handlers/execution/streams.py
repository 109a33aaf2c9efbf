"""A stream as an attempt knows it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from handlers.execution.verdict import Verdict


class Stream:
    """A stream: the version it was read at, and what it has come to since.

    `member` is the first command that touched it (-1: none yet), `commands` are those with an outcome
    under their ids, where it is a tenant's.
    """

    __slots__ = ("commands", "id", "member", "read", "state", "version")

    def __init__(self, id: UUID, state: Any, version: int) -> None:
        self.id = id
        self.read = version
        self.state = state
        self.version = version
        self.member = -1
        self.commands: dict[UUID, Verdict] | None = None
