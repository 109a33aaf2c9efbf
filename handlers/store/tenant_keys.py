"""The wrapped data keys of tenants, as the keyring reads them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from handlers.store.connections import Connections
from handlers.store.packing import uuids

_OF_TENANTS = b"""
SELECT k.tenant_id, k.key_id, k.wrapped FROM service.tenant_keys k
WHERE k.tenant_id = ANY (%s) ORDER BY k.created_at, k.key_id"""

_BY_ID = b"SELECT k.tenant_id, k.key_id, k.wrapped FROM service.tenant_keys k WHERE k.key_id = ANY (%s)"


class WrappedKey(NamedTuple):
    """A row of service.tenant_keys; `wrapped` is None for a destroyed key."""

    tenant_id: UUID
    key_id: UUID
    wrapped: bytes | None


class TenantKeyRows:
    """Reads the keys' rows. Its calls raise StoreUnavailable."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def of_tenants(self, tenants: Collection[UUID]) -> list[WrappedKey]:
        """Return all keys of the tenants, oldest first."""
        return _rows(await self._connections.fetch(_OF_TENANTS, (uuids(tenants),)))

    async def by_id(self, keys: Collection[UUID]) -> list[WrappedKey]:
        """Return these keys; those that never were are missing."""
        return _rows(await self._connections.fetch(_BY_ID, (uuids(keys),)))


def _rows(found: list[tuple[Any, ...]]) -> list[WrappedKey]:
    return list(map(WrappedKey._make, found))
