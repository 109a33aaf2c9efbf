"""What can go wrong between the service and its database.

StoreError
├── StoreUnavailable   nothing was written
├── AmbiguousCommit    it is not known whether the batch was written
└── Fenced             another worker owns a partition of the batch: nothing was written
"""

from __future__ import annotations

import psycopg

_FENCED = "TS001"
_PASSING = ("08", "25P03", "25P04", "40", "53", "55P03", "57", "58")
"""States that say nothing about what was asked: connection, timeouts, deadlock, resources, shutdown, disk."""


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
