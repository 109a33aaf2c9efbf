"""What all queries' forms share: the position to wait for, pages, cursors."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tenant_domain.refusals import InvalidQuery
from tenant_domain.values import STORABLE, checked_text

LAST_POSITION = 2**63 - 1
"""The largest position that PostgreSQL and NATS can count to."""


def _whole(value: Any) -> Any:
    """Return 30 for 30.0 and 3e1, which JSON Schema takes for whole numbers too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
Position = Annotated[int, Field(ge=0, le=LAST_POSITION), Whole]
Text = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": STORABLE}),
    AfterValidator(checked_text),
]


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _time(value: Any) -> Any:
    """Return the time that an RFC 3339 text names; digits beyond microseconds are cut off."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a time with a zone, as 2026-11-23T09:30:00Z (RFC 3339)")
    return datetime.fromisoformat(value.upper())


Time = Annotated[datetime, BeforeValidator(_time)]


class Query(BaseModel):
    """A question. Answer from a state that includes `min_position`, for which it may wait up to `timeout_ms`.

    A wait holds memory here, so it ends after 30 s; whoever wants to wait longer asks again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    min_position: Position = 0
    timeout_ms: Annotated[int, Field(ge=0, le=30_000), Whole] = 1000


class Page(Query):
    """A question with many answers: `cursor` is the former page's `next_cursor`."""

    cursor: Annotated[str, Field(max_length=512)] | None = None
    limit: Annotated[int, Field(ge=1, le=500), Whole] = 50


def invalid(field: str, detail: str) -> InvalidQuery:
    """Return the refusal of one field of a query."""
    return InvalidQuery(f"{field}: {detail}", errors=[{"field": field, "detail": detail}])


def cursor_of(query: str, key: int) -> str:
    """Return the cursor of `query` that goes on after the item with `key`."""
    return base64.urlsafe_b64encode(msgspec.json.encode((query, key))).decode().rstrip("=")


def after(query: str, cursor: str | None) -> int:
    """Return the key that a page of `query` goes on after; 0 for the first page.

    Raises InvalidQuery when the cursor is not one that `query` gave.
    """
    if cursor is None:
        return 0
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        source, key = msgspec.json.decode(packed, type=tuple[str, int])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise invalid("cursor", "is not a cursor of this service") from None
    if source != query or not 0 <= key <= LAST_POSITION:
        raise invalid("cursor", "is of another query")
    return key
