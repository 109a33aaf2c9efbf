"""The read model of tenants: one row for each, to look up, filter, search and page through."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from pydantic import Field

from projections.forms import LAST_POSITION, Page, Query, Text, Time, Whole
from projections.questions import (
    BY_OPERATORS,
    BY_READERS,
    BY_READERS_ALWAYS,
    Condition,
    Listing,
    LogQuestion,
    Lookup,
    Row,
)
from projections.read_model import Column, ReadModel, Standing, utc
from tenant_domain.refusals import TenantGone, TenantNotFound
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Json, Status, Subdomain


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant, as queries answer it; `operation_id` is the operation that holds it."""

    tenant_id: UUID
    name: str
    subdomain: str
    status: Status
    plan: str
    region: str
    metadata: dict[str, str]
    settings: dict[str, Json]
    quotas: dict[str, int]
    created_at: datetime
    updated_at: datetime
    version: int
    operation_id: UUID | None


_encode = msgspec.json.Encoder().encode


def body(standing: Standing) -> bytes:
    """Return the answer about a tenant as JSON, without its position."""
    state: Tenant = standing.state
    return _encode(
        TenantView(
            tenant_id=standing.tenant_id,
            name=state.name,
            subdomain=state.subdomain,
            status=state.status,
            plan=state.plan,
            region=state.region,
            metadata=state.metadata,
            settings=state.settings,
            quotas=state.quotas,
            created_at=utc(standing.created_at),
            updated_at=utc(standing.updated_at),
            version=standing.version,
            operation_id=state.operation_id,
        )
    )


_FREE = (Status.FAILED, Status.PURGING, Status.DELETED)
"""In these statuses a tenant does not hold its subdomain any more, or is about to lose it for good."""


def _values(state: Tenant) -> tuple[Any, ...]:
    former = state.status if state.termination is None else state.termination.former
    held = "" if state.status in _FREE or former is Status.FAILED else state.subdomain
    return (state.plan, held, f"{searchable(state.name)}\n{state.subdomain}")


def searchable(text: str) -> str:
    """Return `text` in the form in which names are compared: without case, and composed in one way."""
    return unicodedata.normalize("NFKC", text).casefold()


MODEL = ReadModel(
    name="tenants",
    revision=6,
    entity="tenant",
    where="originator_id = tenant_id",
    concerns=lambda _topic, stream_id, tenant_id: stream_id == tenant_id,
    status=lambda state: state.status.value,
    body=body,
    columns=(Column("plan", "text"), Column("held_subdomain", "text"), Column("search", "text")),
    values=_values,
    indexes=(
        "(born)",
        "(status, born)",
        "(plan, born)",
        "(held_subdomain)",
        "USING gin (search {trigrams})",
    ),
    kept=True,
)


class GetTenant(Query):
    """The tenant as it is."""


class ListTenants(Page):
    """Tenants, oldest first; `search` finds a part of the name or the subdomain, whatever its case."""

    status: Status | None = None
    plan: Text | None = None
    search: Text | None = None


class GetBySubdomain(Query):
    """The tenant that holds the subdomain."""

    subdomain: Subdomain


class GetAsOf(Query):
    """The tenant as it was: at a time, whose own events belong to it, or after an event of its stream."""

    at: Time | None = None
    version: Annotated[int, Field(ge=1, le=LAST_POSITION), Whole] | None = None


def _own_id(tenant_id: UUID | None, _: GetTenant) -> UUID | None:
    return tenant_id


def _asked_subdomain(_: UUID | None, form: GetBySubdomain) -> str:
    return form.subdomain


def _tenant(tenant_id: UUID | None, _: GetTenant, row: Row | None) -> bytes:
    if row is None:
        raise TenantNotFound(f"There is no tenant {tenant_id}.")
    if row.status == Status.DELETED:
        raise TenantGone(f"The tenant {tenant_id} was deleted.")
    return row.body


def _by_subdomain(_: UUID | None, form: GetBySubdomain, row: Row | None) -> bytes:
    if row is None:
        raise TenantNotFound(f"No tenant holds the subdomain {form.subdomain!r}.")
    return row.body


def _conditions(_: UUID | None, form: ListTenants) -> list[Condition]:
    conditions: list[Condition] = []
    if form.status is not None:
        conditions.append(Condition("status = %s", form.status.value))
    if form.plan is not None:
        conditions.append(Condition("plan = %s", form.plan))
    if form.search is not None:
        conditions.append(Condition("search LIKE %s", _containing(searchable(form.search))))
    return conditions


def _containing(text: str) -> str:
    """Return the LIKE pattern of what contains `text` as it stands."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


TENANT = Lookup(
    name="tenant",
    fleet=False,
    form=GetTenant,
    access=BY_READERS_ALWAYS,
    item=TenantView,
    model=MODEL,
    column="stream_id",
    key=_own_id,
    answer=_tenant,
)
BY_SUBDOMAIN = Lookup(
    name="by_subdomain",
    fleet=True,
    form=GetBySubdomain,
    access=BY_OPERATORS,
    item=TenantView,
    model=MODEL,
    column="held_subdomain",
    key=_asked_subdomain,
    answer=_by_subdomain,
)
TENANTS = Listing(
    name="tenants",
    fleet=True,
    form=ListTenants,
    access=BY_OPERATORS,
    item=TenantView,
    model=MODEL,
    conditions=_conditions,
    chosen=("plan",),
)
AS_OF = LogQuestion(name="as_of", fleet=False, form=GetAsOf, access=BY_READERS, item=TenantView)
