"""Folding streams into states, from a snapshot on where there is one.

A snapshot is read only by the code that folded it: its format is a digest of the sources that make the state.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from handlers.store.packing import Packed, bigints, byteas, names, uuids
from handlers.wire.events import event_of
from tenant_domain.registry import ENTITIES


class Loaded(NamedTuple):
    """A stream's state (None: it has no events) and version (0: it has no events)."""

    state: Any
    version: int


EMPTY = Loaded(None, 0)


@cache
def snapshot_format(entity: str) -> str:
    """Return what names the code that folds streams of `entity`: other code gives other states."""
    evolve, events = ENTITIES[entity].evolve, ENTITIES[entity].events
    modules = sorted({evolve.__module__, *(event.__module__ for event in events)})
    sources = "".join(inspect.getsource(sys.modules[name]) for name in modules)
    return blake2b(sources.encode(), digest_size=8).hexdigest()


@cache
def _decoder(entity: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(ENTITIES[entity].state)


def folded(entity: str, rows: Sequence[tuple[UUID, int, str | None, bytes]]) -> Loaded:
    """Return what the rows (stream, version, stored name, body) of one stream come to.

    They are in order; the first may be a snapshot, which has no name.
    """
    evolve = ENTITIES[entity].evolve
    state: Any = None
    for _, _, topic, body in rows:
        state = _decoder(entity).decode(body) if topic is None else evolve(state, event_of(topic, body))
    return Loaded(state, rows[-1][1])


def asked(entities: dict[UUID, str]) -> tuple[Packed, Packed]:
    """Return the parameters of a load: streams, and the formats that their snapshots must have."""
    return uuids(entities), names(map(snapshot_format, entities.values()))


def snapshot_rows(entities: dict[UUID, str], states: list[tuple[UUID, Loaded]]) -> tuple[Packed, ...]:
    """Return the parameters that save states as snapshots."""
    streams, loaded = zip(*states, strict=True)
    return (
        uuids(streams),
        bigints(item.version for item in loaded),
        names(snapshot_format(entities[stream]) for stream in streams),
        byteas(msgspec.json.encode(item.state) for item in loaded),
    )
