"""What a read model is: a table with a row for each stream of one entity, folded by the domain's own evolve.

A row holds the folded state, to go on from, and the answer to a query as it is sent, rendered once when it
is written. Tables are made per generation (`rm_<name>_<generation>`): a new one is built beside the live one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from tenant_domain.decision import Event
from tenant_domain.registry import ENTITIES


class Standing(msgspec.Struct, gc=False):
    """Where the fold of one stream stands: after its event `version`, which is of the time `updated_at`.

    `born` is the position of its first event. `parked` is the position of an event that could not be folded,
    0 when there is none: the stream then stays as it was before.
    """

    stream_id: UUID
    tenant_id: UUID
    born: int
    created_at: datetime
    updated_at: datetime
    version: int
    state: Any
    parked: int = 0


class Column(NamedTuple):
    """A column of a read model's table."""

    name: str
    type: str


KEY = "stream_id"
"""The key of every read model's table."""

COMMON = (
    Column(KEY, "uuid"),
    Column("tenant_id", "uuid"),
    Column("born", "bigint"),
    Column("created_at", "timestamptz"),
    Column("updated_at", "timestamptz"),
    Column("version", "bigint"),
    Column("state", "bytea"),
    Column("parked", "bigint"),
    Column("status", "text"),
    Column("body", "bytea"),
)
"""What every row has: its Standing, and `body`, the answer as JSON without its position."""

STANDING = tuple(column.name for column in COMMON[:8])
"""The columns that a Standing is made of again."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A read model. A change of its table, its body or its state's type needs another `revision`.

    `where` and `concerns` say the same, to PostgreSQL and to Python: which events of the log are its own.
    `indexes` are what follows `CREATE INDEX ON <table>`. `kept` means that queries keep rows in memory, so
    the projector tells them which ones changed.
    """

    name: str
    revision: int
    entity: str
    where: str
    concerns: Callable[[str, UUID, UUID], bool]
    status: Callable[[Any], str]
    body: Callable[[Standing], bytes]
    columns: tuple[Column, ...]
    values: Callable[[Any], tuple[Any, ...]]
    indexes: tuple[str, ...]
    kept: bool = False

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns that `row` has values for, in its order."""
        return COMMON + self.columns

    def table(self, generation: int) -> str:
        """Return the name of the table of `generation`, in the schema `service`."""
        return f"rm_{self.name}_{generation}"

    def create(self, generation: int) -> str:
        """Return the statement that makes the table of `generation`, without its indexes."""
        columns = ", ".join(f"{column.name} {column.type} NOT NULL" for column in self.all_columns)
        return f"CREATE TABLE service.{self.table(generation)} ({columns}, PRIMARY KEY ({KEY}))"

    def begin(self, stream_id: UUID, tenant_id: UUID, position: int, at: datetime) -> Standing:
        """Return where a stream stands before its first event, which is at `position`, of the time `at`."""
        return Standing(
            stream_id, tenant_id, born=position, created_at=at, updated_at=at, version=0, state=None
        )

    def advance(self, standing: Standing, version: int, at: datetime, event: Event) -> None:
        """Take in the next event of the stream.

        Raises what `evolve` raises, and ValueError for a stream without a beginning; then nothing changed.
        """
        state = ENTITIES[self.entity].evolve(standing.state, event)
        if state is None:
            raise ValueError(f"a stream of {self.name} cannot begin with {event.name}")
        standing.state = state
        standing.version = version
        standing.updated_at = at

    def row(self, standing: Standing) -> tuple[Any, ...]:
        """Return the row of a stream, a value for each of `all_columns`.

        Raises ValueError for a text that PostgreSQL cannot hold.
        """
        state = standing.state
        values, encoded = self.values(state), _encode(state)
        if b"\\u0000" in encoded and any("\x00" in value for value in values if isinstance(value, str)):
            raise ValueError("a text holds a NUL character")
        return (
            standing.stream_id,
            standing.tenant_id,
            standing.born,
            standing.created_at,
            standing.updated_at,
            standing.version,
            encoded,
            standing.parked,
            self.status(state),
            self.body(standing),
            *values,
        )

    def standing(self, row: tuple[Any, ...]) -> Standing:
        """Return where the stream of a row stands; `row` has the columns of `STANDING`."""
        stream_id, tenant_id, born, created_at, updated_at, version, state, parked = row
        known = msgspec.json.decode(state, type=ENTITIES[self.entity].state)
        return Standing(stream_id, tenant_id, born, created_at, updated_at, version, known, parked)


def utc(at: datetime) -> datetime:
    """Return the same time in UTC: answers show times with a Z."""
    return at.astimezone(UTC)
