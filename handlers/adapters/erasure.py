"""Erasure: what the service keeps of a tenant in tables that all tenants share is destroyed for good."""

from __future__ import annotations

from uuid import UUID

import msgspec

from handlers.adapters.schemas import Connect


class StoreErased(msgspec.Struct, frozen=True, kw_only=True):
    """What was destroyed in one store: how much of what, how, and whether a second look found nothing."""

    store: str
    what: str
    count: int
    how: str
    verified: bool


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was destroyed, and the ids of the keys that were."""

    key_ids: list[str]
    stores: list[StoreErased]


_ANSWERS = "DELETE FROM service.command_ledger WHERE tenant_id = %s"
_ANSWERS_LEFT = "SELECT FROM service.command_ledger WHERE tenant_id = %s LIMIT 1"


class Erasure:
    """Destroys what is kept of a tenant outside its schema and bucket. What is gone already stays gone."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def erase(self, tenant_id: UUID) -> Erased:
        """Destroy it, and look again."""
        async with self._connect() as connection:
            removed = (await connection.execute(_ANSWERS, (tenant_id,))).rowcount
            left = (await connection.execute(_ANSWERS_LEFT, (tenant_id,))).rowcount
        answers = StoreErased(
            store="postgresql",
            what="remembered outcomes of commands",
            count=removed,
            how="deleted",
            verified=left == 0,
        )
        return Erased(key_ids=[], stores=[answers])
