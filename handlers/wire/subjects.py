"""Subjects and streams of the bus (CONTRACT, version 1)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

FLEET = "fleet"
"""Stands in a subject where a tenant id would, for a query or a command over all tenants."""

UNPLACED = -1
"""The partition of commands whose subject the server's transform left as it was: one with a token `*` or `>`.

The server stores such a message and acknowledges it, but puts it into no partition.
"""

INBOX = "_INBOX"
"""Replies and outcomes go only to subjects that begin with this token (or `_INBOX_<name>`)."""


PREFIX = "tenants"
"""The first token of every subject, unless the settings say another."""


class Streams(NamedTuple):
    """Names of the JetStream streams, and of the key-value bucket, below the prefix PREFIX."""

    commands: str = "TENANT_COMMANDS"
    usage: str = "TENANT_USAGE"
    events: str = "TENANT_EVENTS"
    dead_letters: str = "TENANT_DEAD_LETTERS"
    context: str = "TENANT_CONTEXT"
    advisories: str = "TENANT_ADVISORIES"
    """What the server tells of messages that a consumer gave up; read by the relay."""

    @classmethod
    def of(cls, prefix: str) -> Streams:
        """Return the names that go with a prefix, so that two services on one NATS share none."""
        own = "" if prefix == PREFIX else f"{prefix.upper()}_"
        return cls(*(f"{own}{name}" for name in cls()))

    @property
    def context_stream(self) -> str:
        """The stream that the bucket of the live context is."""
        return f"KV_{self.context}"

    def context_subject(self, key: str) -> str:
        """Return the subject of a key of the live context (`<tenant_id>`)."""
        return f"$KV.{self.context}.{key}"


class Subjects(NamedTuple):
    """The subjects below one prefix."""

    prefix: str = PREFIX

    def command(self, tenant_id: UUID | str, command: str) -> str:
        """Return the durable door of a command."""
        return f"{self.prefix}.commands.{tenant_id}.{command}"

    def rpc(self, tenant_id: UUID | str, command: str) -> str:
        """Return the answered door of a command."""
        return f"{self.prefix}.rpc.{tenant_id}.{command}"

    def rpc_partition(self, partition: int | str) -> str:
        """Return where commands of the answered door arrive that the server sorted by partition."""
        return f"{self.prefix}.rpc_partitions.{partition}.>"

    def rpc_mapping(self, partitions: int) -> tuple[str, str]:
        """Return the subject mapping by which a server sorts the answered door's commands: from, to."""
        sorted_by = f"{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"
        return self.rpc("*", "*"), f"{self.prefix}.rpc_partitions.{sorted_by}"

    def worker(self, owner: UUID) -> str:
        """Return where a worker takes the commands of its partitions that came in through others' doors."""
        return f"{self.prefix}.workers.{owner}"

    def query(self, tenant_id: UUID | str, query: str) -> str:
        """Return the subject of a query; with FLEET as tenant, of one over all tenants."""
        return f"{self.prefix}.queries.{tenant_id}.{query}"

    def event(self, tenant_id: UUID | str, name: str) -> str:
        """Return the subject of the event stored as `name` (`entity.fact`)."""
        return f"{self.prefix}.events.{tenant_id}.{name}"

    def notice(self, tenant_id: UUID | str, notice: str) -> str:
        """Return the subject of a notice to people about a tenant (`tenant_ready`)."""
        return f"{self.prefix}.notices.{tenant_id}.{notice}"

    def dead(self, tenant: str, stream: str, reason: str) -> str:
        """Return the subject of a dead letter; `tenant` is an id or `unknown`."""
        return f"{self.prefix}.dead.{tenant}.{stream}.{reason}"

    def partition(self, number: int) -> str:
        """Return what the stream stores a partition's commands under (its subject transform)."""
        if number == UNPLACED:
            return f"{self.prefix}.commands.>"
        return f"{self.prefix}.partitions.{number}.>"

    def partition_of(self, stored: str) -> int:
        """Return in which partition a message stands that is stored under this subject."""
        head = f"{self.prefix}.partitions."
        return int(stored.removeprefix(head).partition(".")[0]) if stored.startswith(head) else UNPLACED

    def partitioned(self, tenant_id: UUID) -> tuple[str, str]:
        """Return what the stream stores all commands of a tenant under, in whatever partition, or in none."""
        return f"{self.prefix}.partitions.*.{tenant_id}.>", f"{self.prefix}.commands.{tenant_id}.>"

    def door(self, stored: str) -> str:
        """Return the subject that a message was sent to: of a command, from what it is stored under."""
        head = f"{self.prefix}.partitions."
        if not stored.startswith(head):
            return stored
        _partition, _, rest = stored.removeprefix(head).partition(".")
        return f"{self.prefix}.commands.{rest}"

    def hint(self, what: str) -> str:
        """Return the subject of a hint between our own processes; a lost hint only costs a poll.

        `committed`: events were committed; `projected`: read models moved; body: the position. `moved`: which
        rows of a read model changed (handlers/wire/hints.py). `erased`: the keys of a tenant, whom
        the body names. `partitions`: a worker came, or gave partitions back; `owners`: one holds others
        than before.
        """
        return f"{self.prefix}.hints.{what}"


@lru_cache(maxsize=65_536)
def partition_of(token: str, partitions: int) -> int:
    """Return where the server's `partition(…,1)` puts a subject by this token: FNV-1a, of 32 bits."""
    digest = 0x811C9DC5
    for byte in token.encode():
        digest = (digest ^ byte) * 0x01000193 & 0xFFFFFFFF
    return digest % partitions


_tenant_id = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def is_tenant_id(token: str) -> bool:
    """Return whether a token of a subject, or of a path, is a tenant's id: a lower-case hyphenated UUID."""
    return _tenant_id(token) is not None


_inbox = re.compile(r"_INBOX(?:_[^\s.*>]+)?(?:\.[^\s.*>]+)*", re.ASCII).fullmatch


def is_inbox(subject: str) -> bool:
    """Return whether a reply may go to `subject`; anything else would lend our rights to the caller."""
    return len(subject) < 256 and subject.isprintable() and _inbox(subject) is not None
