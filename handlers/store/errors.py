"""What can go wrong between the service and its database.

StoreError
├── StoreUnavailable   nothing was written
├── AmbiguousCommit    it is not known whether the batch was written
└── Fenced             another worker owns a partition of the batch: nothing was written
"""

from __future__ import annotations

import psycopg

_FENCED = "TS001"
_AWAY = ("08", "25006", "25P03", "25P04", "53", "57P", "58", "F0", "XX")
"""States of a server that could do nothing of the kind now, whatever was asked: connection, read-only,
resources, disk, shutdown and start, its configuration, its own failure."""
_PASSING = (*_AWAY, "40", "55P03", "57")
"""States that say nothing about what was asked: those, deadlock, locks of others, time."""
_ABOUT_VALUES = ("21", "22", "23", "44", "54")
"""States that say that the database cannot hold just these values: asked again, it says the same."""


class StoreError(Exception):
    """The database did not do what was asked."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or could not do it now; nothing was written."""


class AmbiguousCommit(StoreError):
    """The connection was lost on the way, and it is not known whether the batch was written.

    Repeat the batch as it was: commands that were written come back as `repeated`, streams that were moved
    have their groups dropped. A batch with progress that was written is refused as Fenced the second time;
    so take the partition's row again (its sequence says how far it is) before going on.
    """


class Fenced(StoreError):
    """Another worker owns a partition of this batch, or has moved it on; nothing was written."""


def is_outage(error: BaseException) -> bool:
    """Return whether `error` is a server's, and may pass: an engine pauses and goes on, whatever was said.

    It is not where the values are to blame, nor where our own code is.
    """
    if isinstance(error, psycopg.Error):
        return not (error.sqlstate or "").startswith(_ABOUT_VALUES)
    return isinstance(error, StoreError | OSError | TimeoutError)


def is_away(error: BaseException) -> bool:
    """Return whether the server could not do anything of the kind, so that the attempt was none.

    A lock of somebody else, or a time limit, may be about what was asked: that is an attempt that failed.
    """
    if not isinstance(error, psycopg.Error):
        return isinstance(error, StoreError)
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_AWAY)


def explained(error: psycopg.Error, *, connected: bool) -> Exception:
    """Return what `error` means to a caller; `connected` is whether the connection outlived it.

    An error that is about the statement itself (a bug) is given back as it is.
    """
    if error.sqlstate == _FENCED:
        return Fenced("another worker owns a partition of this batch")
    if not connected:
        return AmbiguousCommit(f"the connection was lost: {error}")
    if error.sqlstate is not None and error.sqlstate.startswith(_PASSING):
        return StoreUnavailable(str(error))
    return error
