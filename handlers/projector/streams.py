"""Folding whole streams one after another: each is made into its row once, and nothing else is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from handlers.projector.folding import NUL, Row
from handlers.wire.events import event_of
from projections.read_model import ReadModel, Standing

LogRow: TypeAlias = tuple[int, UUID, UUID, int, str, bytes, datetime]
"""An event as it is read: the values of a StoredEvent."""


class StreamFold:
    """The fold of a log that is given stream by stream, each in its own order; one may come in several parts.

    `doubtful` are streams with an event that cannot be folded, or a state that may make no row: which
    event is to blame, if any, is for a careful fold to find (see Folding).
    """

    def __init__(self, model: ReadModel) -> None:
        self._model = model
        self._standing: Standing | None = None
        self._failed = False
        self.doubtful: list[UUID] = []

    def fold(self, events: Sequence[LogRow]) -> list[Row]:
        """Fold the next events, and return the rows of the streams that are over."""
        rows: list[Row] = []
        model, standing = self._model, self._standing
        for position, tenant_id, stream_id, version, topic, state, at in events:
            if version == 1 or standing is None or stream_id != standing.stream_id:
                rows += self.end()
                standing = self._standing = model.begin(stream_id, tenant_id, position, at)
            elif self._failed:
                continue
            if version != standing.version + 1 or NUL in state:
                self._failed = True
                continue
            try:
                model.advance(standing, version, at, event_of(topic, state))
            except Exception:  # noqa: BLE001 found again, and told, by the careful fold
                self._failed = True
        return rows

    def end(self) -> list[Row]:
        """Return the row of the last stream, if there is one: it has no more events."""
        standing, failed = self._standing, self._failed
        self._standing, self._failed = None, False
        if standing is None:
            return []
        try:
            if not failed:
                return [self._model.row(standing)]
        except Exception:  # noqa: BLE001 as above
            failed = True
        self.doubtful.append(standing.stream_id)
        return []
