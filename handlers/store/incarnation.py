"""Which incarnation of PostgreSQL is talked to: whatever is remembered is true of one of them only.

A database that was restored, or failed over to a replica that had not got the last commits, gives its
positions and versions a second time, to other events. Its server was started meanwhile, or the database made
anew: a new connection tells, and whoever remembers anything begins anew.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from handlers.store.errors import StoreUnavailable

log = structlog.get_logger()

ORIGIN = """pg_postmaster_start_time()::text
    || (SELECT ' ' || d.oid FROM pg_database d WHERE d.datname = current_database())"""
"""What tells a connection's database from any other, and from itself after a restart or a restore."""


class Incarnation:
    """The incarnation that a process knows. `number` counts them: take it before what it is to vouch for."""

    def __init__(self) -> None:
        self.number = 0
        self._origin: str | None = None
        self._heard_by: list[Callable[[], None]] = []

    def met(self, origin: str) -> int:
        """Take in the ORIGIN of a new connection; return the number that it has."""
        if self._origin is not None and origin != self._origin:
            self.number += 1
            log.warning("PostgreSQL was started anew: what was remembered of it is read again", origin=origin)
            for begin_anew in self._heard_by:
                begin_anew()
        self._origin = origin
        return self.number

    def require(self, number: int | None) -> None:
        """Raise StoreUnavailable where `number` is given and is that of a former one."""
        if number is not None and number != self.number:
            raise StoreUnavailable("the database was started anew: what was read of it before is read again")

    def heard_by(self, begin_anew: Callable[[], None]) -> None:
        """Call `begin_anew` with each new incarnation, before anything is read of it."""
        self._heard_by.append(begin_anew)
