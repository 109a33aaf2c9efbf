"""Which log this is, and on which server and timeline of PostgreSQL it stands."""

from __future__ import annotations

from typing import NamedTuple, Self

import psycopg

from handlers.store.connections import Connections

_ID = b"SELECT id FROM service.log_identity"
_SERVER = b"""
SELECT s.system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
FROM pg_control_system() s"""

_REFUSED = "42501"

_LOG, _SYSTEM, _TIMELINE = "tenants.log", "tenants.postgres_system", "tenants.postgres_timeline"


class LogIdentity(NamedTuple):
    """The log's own id, which each copy of its database has, too; the system identifier of the server's data,
    which backups and replicas have, too; and the timeline, which grows with each promotion and restore.

    `system` and `timeline` are 0 where the service's role must not see them.
    """

    log: str
    system: int
    timeline: int

    def follows(self, mark: LogIdentity) -> bool:
        """Return whether this is surely what became of the log that left `mark`, on a server of its line.

        Only then its word holds against what was made of it before: a copy on another server would overwrite
        what the log itself has published.
        """
        return self.system > 0 and self[:2] == mark[:2] and self.timeline >= mark.timeline

    def metadata(self) -> dict[str, str]:
        """Return the mark that a stream carries."""
        return {_LOG: self.log, _SYSTEM: str(self.system), _TIMELINE: str(self.timeline)}

    @classmethod
    def of(cls, metadata: dict[str, str] | None) -> Self | None:
        """Return what a stream's mark says, None where it has none."""
        told = metadata or {}
        if _LOG not in told:
            return None
        return cls(told[_LOG], int(told.get(_SYSTEM, 0)), int(told.get(_TIMELINE, 0)))


async def identity_of(connections: Connections) -> LogIdentity:
    """Return the identity of the log. Raises StoreError."""
    ((log_id,),) = await connections.fetch(_ID, ())
    try:
        ((system, timeline),) = await connections.fetch(_SERVER, ())
    except psycopg.Error as error:
        if error.sqlstate != _REFUSED:
            raise
        system, timeline = 0, 0
    return LogIdentity(str(log_id), system, timeline)
