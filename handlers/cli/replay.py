"""`tenantctl replay`: the log itself, read from PostgreSQL, upcast, in order; or the states it folds to."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from handlers.cli import output
from handlers.cli.asking import types_of
from handlers.cli.exits import DONE, REFUSED
from handlers.cli.where import Common, keyring, store
from tenant_domain.refusals import TenantNotFound

if TYPE_CHECKING:
    from handlers.adapters.keyring import Keyring
    from handlers.store.event_store import EventStore, StoredEvent

COMMON = Common()

CHUNK = 1000
"""Events read at a time."""


async def replay(
    *,
    tenant: UUID | None = None,
    from_position: Annotated[int, Parameter(name="--from")] = 1,
    to_position: Annotated[int | None, Parameter(name="--to")] = None,
    types: Annotated[list[str] | None, Parameter(name="--type", negative="")] = None,
    fold: Annotated[bool, Parameter(negative="")] = False,
    sealed: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Write stored events as JSON lines, upcast, in order; or the states that they fold to.

    It reads PostgreSQL alone, so it works while everything else is down. Personal fields are opened with the
    master key; those of an erased tenant read "erased". What cannot be read is written with its position,
    type and an `unreadable` that says why, a value that cannot be opened as "unreadable": then the exit code
    is 1.

    Example: tenantctl replay --type tenant.activated --from 1000 > activated.jsonl
    Example: tenantctl replay --tenant 0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10 --to 4711 --fold

    Parameters
    ----------
    tenant
        Id of the one tenant whose events are read.
    from_position
        First position.
    to_position
        Last position; the log's end by default.
    types
        Name of a fact such as tenant.activated, as often as needed.
    fold
        Write the state of each entity instead; what is left out is not folded.
    sealed
        Leave personal fields sealed, as they are stored; no master key is needed.
    """
    wanted = frozenset(types_of(types) or ())
    async with store(common) as log:
        if tenant is not None and not await log.read_tenant(tenant, 0, None, 1):
            raise TenantNotFound(f"There is no tenant {tenant}.")
        found = _events(log, tenant, from_position, to_position, wanted)
        keys = None if sealed else keyring(common, log)
        unreadable = 0
        if fold:
            for state in await _folded(found):
                unreadable += await _write(state, keys)
        else:
            async for event in found:
                unreadable += await _write(_record(event), keys)
    if unreadable:
        print(f"{unreadable} lines tell of what is unreadable.", file=sys.stderr)
    return REFUSED if unreadable else DONE


async def _write(record: dict[str, Any], keys: Keyring | None) -> bool:
    """Write a line; return whether something in it is unreadable."""
    from handlers.wire.sealing import shows_unreadable

    line = output.encoded(record).encode()
    text = line if keys is None else await keys.open_json(line, lenient=True)
    output.text(text.decode(errors="replace"))
    return "unreadable" in record or shows_unreadable(line, text)


async def _events(
    log: EventStore, tenant: UUID | None, first: int, last: int | None, types: frozenset[str]
) -> AsyncGenerator[StoredEvent]:
    end = await log.head() if last is None else last
    after = first - 1
    while after < end:
        if tenant is None:
            chunk = await log.read(after, CHUNK)
        else:
            chunk = await log.read_tenant(tenant, after, end, CHUNK, types)
        if not chunk:
            return
        for event in chunk:
            if event.position <= end and (not types or event.topic in types):
                yield event
        after = chunk[-1].position


async def _folded(events: AsyncGenerator[StoredEvent]) -> Iterable[dict[str, Any]]:
    """Return the state of each entity with an event among `events`, by the first of these."""
    from handlers.wire.events import NOT_READABLE, event_of, why_unreadable
    from tenant_domain.registry import ENTITIES

    entities = {cls.name: (name, entity) for name, entity in ENTITIES.items() for cls in entity.events}
    states: dict[UUID, dict[str, Any]] = {}
    async for stored in events:
        known = states.get(stored.stream_id)
        if known is not None and "unreadable" in known:
            continue  # the state is that before the first event that cannot be read
        try:
            name, entity = entities[stored.topic]
            former = known["state"] if known else None
            state = entity.evolve(former, event_of(stored.topic, stored.state))
        except NOT_READABLE as error:
            reason = f"at position {stored.position}: {why_unreadable(stored.topic, error)}"
            states[stored.stream_id] = {**(known or _where(stored)), "unreadable": reason}
        else:
            states[stored.stream_id] = {"entity": name, **_where(stored), "state": state}
    return states.values()


def _where(stored: StoredEvent) -> dict[str, Any]:
    return {
        "stream_id": stored.stream_id,
        "tenant_id": stored.tenant_id,
        "version": stored.version,
        "position": stored.position,
    }


def _record(stored: StoredEvent) -> dict[str, Any]:
    from handlers.wire.events import NOT_READABLE, decoded, opened, why_unreadable

    place = {
        "position": stored.position,
        "tenant_id": stored.tenant_id,
        "stream_id": stored.stream_id,
        "version": stored.version,
        "type": stored.topic,
        "time": stored.recorded_at,
    }
    try:
        body = opened(stored.state)
        return {
            **place,
            "data": decoded(stored.topic, body.v, body.data),
            "actor": body.meta.actor,
            "correlation_id": body.meta.correlation_id,
            "causation_id": body.meta.causation_id,
        }
    except NOT_READABLE as error:
        return {**place, "unreadable": why_unreadable(stored.topic, error)}
