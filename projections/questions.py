"""The shapes of queries: one row by its key, a page of rows, or something read from the log itself.

They say who may ask, what to read and how to answer from it; `handlers/queries` reads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from projections.forms import Page, Query
from projections.read_model import ReadModel
from tenant_domain.authorisation import HEADS, OPERATORS, READERS, Access

BY_READERS = Access(READERS)
BY_READERS_ALWAYS = Access(READERS, HEADS)
"""What a tenant's heads may ask while it is out of service, too: to see where it stands."""
BY_HEADS_ALWAYS = Access(HEADS, HEADS)
BY_OPERATORS = Access(OPERATORS)


class Row(NamedTuple):
    """A row of a read model, as a query sees it: `body` is the answer without its position."""

    tenant_id: UUID
    status: str
    body: bytes


class Condition(NamedTuple):
    """A condition on the rows of a page, and the value of its one parameter."""

    sql: str
    value: Any


class Lookup(NamedTuple):
    """A question about the one row whose `column` is `key`; `answer` is its body, or raises a Refusal."""

    name: str
    fleet: bool
    form: type[Query]
    access: Access
    item: type[msgspec.Struct]
    model: ReadModel
    column: str
    key: Callable[[UUID | None, Any], Any]
    answer: Callable[[UUID | None, Any, Row | None], bytes]


class Listing(NamedTuple):
    """A question for a page of rows, in the order of their birth, on which all `conditions` hold.

    `chosen` are fields that name one of few things (a plan, a kind), and the columns of these names: a value
    that the service does not know, and no row has, is refused.
    """

    name: str
    fleet: bool
    form: type[Page]
    access: Access
    item: type[msgspec.Struct]
    model: ReadModel
    conditions: Callable[[UUID | None, Any], list[Condition]]
    chosen: tuple[str, ...] = ()


class LogQuestion(NamedTuple):
    """A question that the log or the ledger answers; how to read stands in `handlers/queries/log.py`."""

    name: str
    fleet: bool
    form: type[Query]
    access: Access
    item: type[msgspec.Struct]
    paged: bool = False


Question = Lookup | Listing | LogQuestion


def full_name(question: Question) -> str:
    """Return the name that tells a question from all others: its cursors are no other one's."""
    return f"fleet.{question.name}" if question.fleet else question.name


def answer_schema(question: Question) -> dict[str, Any]:
    """Return the JSON Schema of the answer."""
    return msgspec.json.schema(answer_type(question))


def answer_type(question: Question) -> type[msgspec.Struct]:
    """Return the type of the answer: the item or a page of items, with the position it includes."""
    paged = isinstance(question, Listing) or (isinstance(question, LogQuestion) and question.paged)
    return _answer(question.item, paged)


@cache
def _answer(item: type[msgspec.Struct], paged: bool) -> type[msgspec.Struct]:
    if paged:
        fields = [("items", list[item]), ("next_cursor", str | None), ("position", int)]
        return msgspec.defstruct(f"{item.__name__}Page", fields)
    if "position" in item.__struct_fields__:
        return item
    name = item.__name__.replace("View", "Answer")
    return msgspec.defstruct(name, [("position", int)], bases=(item,), kw_only=True)
