"""What operators did about dead letters: sent again, or dismissed; by whom, and when."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from handlers.store.event_store import EventStore


class Handling(NamedTuple):
    """What was done about a letter; `replayed_as` is the id that its command was sent again under."""

    replayed_at: datetime | None = None
    replayed_by: str | None = None
    replayed_as: str | None = None
    dismissed_at: datetime | None = None
    dismissed_by: str | None = None

    @property
    def status(self) -> str:
        """`open` until somebody has done something about it."""
        if self.dismissed_at is not None:
            return "dismissed"
        return "open" if self.replayed_at is None else "replayed"


_HANDLED = """
SELECT id, replayed_at, replayed_by, replayed_as, dismissed_at, dismissed_by
FROM service.dead_letter_handling WHERE id = ANY (%s::uuid[])"""

_REPLAYED = """
INSERT INTO service.dead_letter_handling (id, tenant, replayed_at, replayed_by, replayed_as)
VALUES (%s, %s, clock_timestamp(), %s, %s)
ON CONFLICT (id) DO UPDATE SET replayed_at = excluded.replayed_at, replayed_by = excluded.replayed_by,
    replayed_as = excluded.replayed_as"""

_DISMISSED = """
INSERT INTO service.dead_letter_handling AS h (id, tenant, dismissed_at, dismissed_by)
VALUES (%s, %s, clock_timestamp(), %s)
ON CONFLICT (id) DO UPDATE SET dismissed_at = excluded.dismissed_at, dismissed_by = excluded.dismissed_by
WHERE h.dismissed_at IS NULL RETURNING true"""


async def handled(store: EventStore, ids: Collection[str]) -> dict[str, Handling]:
    """Return what was done about letters, by their ids; of those that nobody handled nothing.

    Raises StoreError.
    """
    async with store.transaction() as transaction:
        rows = await (await transaction.connection.execute(_HANDLED, (list(ids),))).fetchall()
    return {str(row[0]): Handling(*row[1:]) for row in rows}


async def note_replay(store: EventStore, letter: str, tenant: str, by: str, command_id: str) -> None:
    """Note that a letter's command was sent again, under this id. Raises StoreError."""
    async with store.transaction() as transaction:
        await transaction.connection.execute(_REPLAYED, (UUID(letter), tenant, by, command_id))


async def dismiss(store: EventStore, letter: str, tenant: str, by: str) -> bool:
    """Dismiss a letter: it needs nothing any more. False where it was dismissed before. Raises StoreError."""
    async with store.transaction() as transaction:
        cursor = await transaction.connection.execute(_DISMISSED, (UUID(letter), tenant, by))
        return await cursor.fetchone() is not None
