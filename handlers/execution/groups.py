"""Conflict groups: what shares a stream stands or falls together."""

from __future__ import annotations


class Groups:
    """Connected components of members (union-find); members count from 0."""

    __slots__ = ("_parents",)

    def __init__(self) -> None:
        self._parents: list[int] = []

    def add(self) -> int:
        """Add a member, and return its number."""
        member = len(self._parents)
        self._parents.append(member)
        return member

    def join(self, one: int, other: int) -> None:
        """Put two members, and all they stand with, into one group."""
        self._parents[self.of(one)] = self.of(other)

    def of(self, member: int) -> int:
        """Return the group of a member, by the number of one member of it."""
        parents = self._parents
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member
