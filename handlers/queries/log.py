"""Questions that the log and the ledger answer, each in one statement: rows and position fit together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from handlers.queries import termination
from handlers.queries.reading import Item, Read, closed, page
from handlers.store.connections import Connections
from handlers.store.packing import texts
from handlers.wire.events import NOT_READABLE, Meta, decoded, event_of, opened, why_unreadable
from handlers.wire.outcomes import rendered
from projections import tenants
from projections.forms import LAST_POSITION, after, invalid
from projections.history import FLEET_HISTORY, HISTORY, OUTCOME, GetOutcome, HistoryItem, ListHistory
from projections.questions import LogQuestion, full_name
from projections.read_model import Standing, utc
from projections.tenants import AS_OF, GetAsOf
from projections.termination import CERTIFICATE, EXPORT
from tenant_domain.refusals import NotFound, TenantNotFound, Unavailable

Reader = Callable[[Connections, UUID | None, Any], Awaitable[Read]]

_OUTCOME = b"""
SELECT h.position, l.outcome, l.position FROM service.event_head h
LEFT JOIN service.command_ledger l ON l.tenant_id = %s AND l.command_id = %s"""

_HISTORY = """
SELECT h.position, {known}, e.*
FROM service.event_head h LEFT JOIN (
    SELECT notification_id, tenant_id, originator_version, topic, state, recorded_at FROM service.events
    WHERE {whose} notification_id > %s AND notification_id <= %s {types}
    ORDER BY notification_id LIMIT %s
) e ON true ORDER BY e.notification_id"""

_AS_OF = b"""
SELECT h.position, e.* FROM service.event_head h LEFT JOIN (
    SELECT originator_version, notification_id, topic, state, recorded_at FROM service.events
    WHERE originator_id = %s AND originator_version <= %s AND recorded_at <= %s
) e ON true ORDER BY e.originator_version"""

LOOKED_THROUGH = 100_000
"""Positions that one query for facts of some types looks through: some 20 ms."""

_FOREVER = datetime.max.replace(tzinfo=UTC)

_encode = msgspec.json.Encoder().encode


async def _outcome(connections: Connections, tenant_id: UUID | None, form: GetOutcome) -> Read:
    """Read what the ledger has: it is written with the log, so the log's end is what it includes."""
    ((head, outcome, position),) = await connections.fetch(_OUTCOME, (tenant_id, form.command_id))

    def answer() -> bytes:
        if outcome is None:
            detail = f"No outcome of a command {form.command_id} of this tenant is remembered."
            raise NotFound(detail, command_id=str(form.command_id))
        return rendered(outcome, position)

    return Read(head, answer)


async def _history(connections: Connections, tenant_id: UUID | None, form: ListHistory) -> Read:
    """Read a page of the facts of one tenant, or of all.

    Rare facts of all tenants may stand anywhere in the log: only so much of it is looked through at a time.
    """
    name = full_name(FLEET_HISTORY if tenant_id is None else HISTORY)
    start = max(after(name, form.cursor), form.from_position - 1)
    last = LAST_POSITION if form.to_position is None else form.to_position
    upto = last
    if tenant_id is None and form.types:
        upto = min(upto, start + LOOKED_THROUGH)
    values: list[Any] = [start, upto]
    if form.types:
        values.append(texts(form.types))
    values.append(form.limit + 1)
    if tenant_id is not None:
        values = [tenant_id, tenant_id, *values]
    statement = _HISTORY.format(
        known="true" if tenant_id is None else "EXISTS (SELECT FROM service.events WHERE tenant_id = %s)",
        whose="" if tenant_id is None else "tenant_id = %s AND",
        types="AND topic = ANY (%s)" if form.types else "",
    )
    rows = await connections.fetch(statement.encode(), values, prepare=False)
    head, known = rows[0][:2]
    items = [_item(row[2:]) for row in rows if row[2] is not None]

    goes_on = upto if upto < min(head, last) else None

    def answer() -> bytes:
        if not known:
            raise TenantNotFound(f"There is no tenant {tenant_id}.")
        return page(name, form, items, head, goes_on)

    return Read(head, answer)


def _item(row: Sequence[Any]) -> Item:
    position, tenant_id, version, topic, state, at = row
    data, meta, reason = None, Meta(), None
    try:
        stored = opened(state)
        data, meta = stored.data, stored.meta
        data = decoded(topic, stored.v, stored.data)
    except NOT_READABLE as error:
        reason = why_unreadable(topic, error)
    item = HistoryItem(
        position=position,
        tenant_id=tenant_id,
        version=version,
        type=topic,
        time=utc(at),
        data=data,
        actor=meta.actor,
        correlation_id=meta.correlation_id,
        unreadable=reason or msgspec.UNSET,
    )
    return Item(position, _encode(item))


async def _as_of(connections: Connections, tenant_id: UUID | None, form: GetAsOf) -> Read:
    """Fold the tenant's stream up to a time or a version."""
    if (form.at is None) == (form.version is None):
        raise invalid("at", "give either at or version")
    assert tenant_id is not None
    values = (tenant_id, form.version or LAST_POSITION, form.at or _FOREVER)
    rows = await connections.fetch(_AS_OF, values)
    head = rows[0][0]
    history = [row[1:] for row in rows if row[1] is not None]

    def answer() -> bytes:
        if not history:
            when = "" if form.at is None else " at that time"
            raise TenantNotFound(f"There is no tenant {tenant_id}{when}.")
        if form.version is not None and history[-1][0] != form.version:
            raise NotFound(f"The tenant has no version {form.version} yet.", version=history[-1][0])
        return closed(tenants.body(_folded(tenant_id, history)), head)

    return Read(head, answer)


def _folded(tenant_id: UUID, history: Sequence[tuple[int, int, str, bytes, datetime]]) -> Standing:
    """Return where the tenant's stream stood after `history`."""
    _, born, _, _, created_at = history[0]
    standing = tenants.MODEL.begin(tenant_id, tenant_id, born, created_at)
    for version, position, topic, state, at in history:
        try:
            tenants.MODEL.advance(standing, version, at, event_of(topic, state))
        except NOT_READABLE as error:
            why = why_unreadable(topic, error)
            raise Unavailable(
                f"The event at position {position} is unreadable: {why}.", retry_after=60
            ) from error
    return standing


READERS: Mapping[LogQuestion, Reader] = {
    OUTCOME: _outcome,
    HISTORY: _history,
    FLEET_HISTORY: _history,
    AS_OF: _as_of,
    EXPORT: termination.export,
    CERTIFICATE: termination.certificate,
}
