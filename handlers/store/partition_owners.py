"""Which command worker owns which partition, as PostgreSQL has it."""

from __future__ import annotations

from uuid import UUID

from handlers.store.connections import Connections

_OWNERS = b"SELECT c.owner FROM service.command_progress c ORDER BY c.partition"


class PartitionOwners:
    """Reads the owners of all partitions. Its call raises StoreUnavailable."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def read(self) -> list[UUID | None]:
        """Return each partition's owner, None for one that nobody holds."""
        return [owner for (owner,) in await self._connections.fetch(_OWNERS, ())]
