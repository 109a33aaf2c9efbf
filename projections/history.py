"""Questions that the log and the ledger answer themselves: history, and the outcome of a command."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from pydantic import AfterValidator, Field

from projections.forms import Page, Position, Query
from projections.questions import BY_OPERATORS, BY_READERS, LogQuestion
from tenant_domain.event_types import not_mistyped
from tenant_domain.values import Id

_FACT = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$"


def _fact_name(text: str) -> str:
    if not re.fullmatch(_FACT, text):
        raise ValueError("must be an entity and a fact, as tenant.activated")
    return not_mistyped(text)


FactName = Annotated[
    str, Field(max_length=200, json_schema_extra={"pattern": _FACT}), AfterValidator(_fact_name)
]
"""The form of a fact's name: entity and fact, in snake_case."""


class HistoryItem(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about a tenant; `version` counts in its entity's own stream, `data` are its fields, upcast.

    One that this version of the service cannot read says why: its data are as they were written, or null.
    """

    position: int
    tenant_id: UUID
    version: int
    type: str
    time: datetime
    data: Any
    actor: str | None
    correlation_id: str | None
    unreadable: str | msgspec.UnsetType = msgspec.UNSET


class OutcomeView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The recorded outcome, exactly as the caller got it; a rejected one has an `error` and no position."""

    command_id: UUID
    tenant_id: UUID
    status: str
    version: int | None = None
    operation_id: UUID | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    position: int | None = None


class GetOutcome(Query):
    """What came of the tenant's command with this id, as long as it is remembered."""

    command_id: Id


class ListHistory(Page):
    """All facts, oldest first; both ends of the range belong to it; `types` as `tenant.activated`.

    A type need not be known here, as a newer process may have written of it: then there are no such facts.
    One that is nearly the name of a known type is refused as mistyped.
    """

    from_position: Position = 0
    to_position: Position | None = None
    types: Annotated[list[FactName], Field(max_length=100)] = []


OUTCOME = LogQuestion(name="outcome", fleet=False, form=GetOutcome, access=BY_READERS, item=OutcomeView)
HISTORY = LogQuestion(
    name="history", fleet=False, form=ListHistory, access=BY_READERS, item=HistoryItem, paged=True
)
FLEET_HISTORY = LogQuestion(
    name="history", fleet=True, form=ListHistory, access=BY_OPERATORS, item=HistoryItem, paged=True
)
