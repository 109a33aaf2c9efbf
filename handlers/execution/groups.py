"""Conflict groups: what shares a stream stands or falls together."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID


class Groups:
    """Connected components of members over the streams they touch (union-find). Members count from 0."""

    __slots__ = ("_first", "_parents")

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._first: dict[UUID, int] = {}

    def add(self, streams: Iterable[UUID]) -> int:
        """Add a member that touches `streams`, and return its number."""
        member = len(self._parents)
        self._parents.append(member)
        self.touch(member, streams)
        return member

    def touch(self, member: int, streams: Iterable[UUID]) -> None:
        """Say that `member` touches these streams, too."""
        for stream in streams:
            first = self._first.setdefault(stream, member)
            if first != member:
                self._parents[self.of(member)] = self.of(first)

    def of(self, member: int) -> int:
        """Return the group of a member, by the number of one member of it."""
        parents = self._parents
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    def streams(self) -> Iterable[tuple[UUID, int]]:
        """Yield each stream with its group."""
        return ((stream, self.of(member)) for stream, member in self._first.items())
