"""Reading on from a row: the events of one stream that a read model has not taken in yet.

A read model is some milliseconds behind the log. Where a look-up finds that the log has a next event of its
stream, the row is folded on from, here and now, by what the projector folds with: so what an outcome has
named is found at once, and nobody reads a state that is older than an outcome he was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from handlers.queries.generations import Generations
from handlers.store.connections import Connections
from handlers.wire.events import UnknownEvent, event_of
from projections.questions import Row
from projections.read_model import KEY, STANDING, ReadModel, Standing
from tenant_domain.refusals import Unavailable
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain import state as subdomain_state
from tenant_domain.subdomain.state import SubdomainClaim

_CLAIM = b"""
SELECT topic, state FROM service.events WHERE originator_id = %s ORDER BY originator_version"""


class Followed(NamedTuple):
    """A stream at the log's end `head`; `standing` is None where it has no event that concerns the model.

    `position` is the least one at which it is the same.
    """

    position: int
    head: int
    standing: Standing | None
    row: Row | None


async def followed(generations: Generations, model: ReadModel, stream: UUID) -> Followed:
    """Read a row and fold on from it, up to the log's end, or to an event that this version cannot read.

    Raises what Generations.read raises, and Unavailable for a stream whose beginning cannot be read.
    """
    rows = await generations.read(model, lambda generation: _statement(model, generation), (stream, stream))
    position, head, *known = rows[0][: 2 + len(STANDING)]
    standing = model.standing(tuple(known)) if known[0] is not None else None
    if standing is not None and standing.parked:
        position = head = standing.parked - 1
    else:
        events = [row[2 + len(STANDING) :] for row in rows if row[-1] is not None]
        standing, position, head = _folded(model, stream, standing, events, position, head)
    if standing is None:
        return Followed(position, head, None, None)
    row = Row(standing.tenant_id, model.status(standing.state), model.body(standing))
    return Followed(position, head, standing, row)


def _folded(
    model: ReadModel,
    stream: UUID,
    standing: Standing | None,
    events: Sequence[tuple[int, int, UUID, str, bytes, datetime]],
    position: int,
    head: int,
) -> tuple[Standing | None, int, int]:
    for version, at, tenant_id, topic, state, time in events:
        begun = standing or model.begin(stream, tenant_id, at, time)
        try:
            if version != begun.version + 1:
                raise ValueError(f"version {version} follows {begun.version}")
            model.advance(begun, version, time, event_of(topic, state))
        except (UnknownEvent, msgspec.ValidationError, KeyError, ValueError, TypeError) as error:
            if standing is None:
                detail = "An event cannot be read by this version of the service."
                raise Unavailable(detail, retry_after=60) from error
            return standing, at - 1, at - 1
        standing = begun
        position = max(position, at)
    return standing, position, head


async def holder_of(connections: Connections, label: str) -> UUID | None:
    """Return the tenant that holds a subdomain by the log; None where none does."""
    rows = await connections.fetch(_CLAIM, (subdomain.ref(label).stream,))
    claim: SubdomainClaim | None = None
    for topic, state in rows:
        claim = subdomain_state.evolve(claim, event_of(topic, state))
    return None if claim is None else claim.holder


def column_of(model: ReadModel, column: str, state: Any) -> Any:
    """Return the value that a state has in one of its read model's own columns."""
    names = [each.name for each in model.columns]
    return model.values(state)[names.index(column)]


def next_event(model: ReadModel, stream: str) -> str:
    """Return the condition that the log has a next event of the row `r`; `stream` is its stream, or the key.

    It is one look into the index of streams, which finds nothing where the row is up to date.
    """
    return (
        "EXISTS (SELECT FROM service.events "
        f"WHERE originator_id = {stream} AND originator_version = coalesce(r.version, 0) + 1 "
        f"AND {model.where})"
    )


def _statement(model: ReadModel, generation: int) -> str:
    standing = ", ".join(f"r.{column}" for column in STANDING)
    return (
        f"SELECT p.position, h.position, {standing}, e.* "  # noqa: S608
        "FROM service.projections p CROSS JOIN service.event_head h "
        f"LEFT JOIN service.{model.table(generation)} r ON r.{KEY} = %s "
        "LEFT JOIN LATERAL ("
        "SELECT originator_version, notification_id, tenant_id, topic, state, recorded_at "
        "FROM service.events WHERE originator_id = %s AND originator_version > coalesce(r.version, 0) "
        f"AND {model.where}) e ON true "
        f"WHERE p.name = '{model.name}' AND p.generation = {generation} AND p.live "
        "ORDER BY e.originator_version"
    )
