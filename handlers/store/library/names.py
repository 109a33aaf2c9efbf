"""The log under another name: the same tables and the same append, for an application of the library."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from psycopg.sql import Identifier

from handlers.store.migrate import Migration, migrations

_NAMES = re.compile(r"\bservice\.(events|event_head|event_lock|append)\b")
_IDS = re.compile(r"\b(originator_id|tenant_id|e_tenant|e_stream|r_stream) uuid\b")
_OWN = "-- What follows is the service's alone."


class LogNames(NamedTuple):
    """Where a log is: its table of events, its head, that one's lock, and the function that appends."""

    schema: str
    events: str
    event_head: str
    event_lock: str
    append: str


SERVICE_LOG = LogNames("service", "events", "event_head", "event_lock", "append")


def log_names(schema: str, events: str) -> LogNames:
    """Return the names that go with a table of events.

    The function carries the number of its file: a newer one does not meet the callers of an older one.
    """
    if (schema, events) == SERVICE_LOG[:2]:
        return SERVICE_LOG
    append = f"{events}_append_{_newest('append').number}"
    return LogNames(schema, events, f"{events}_head", f"{events}_lock", append)


def tables_sql(names: LogNames, id_type: str, *, made: int = 0) -> str:
    """Return the SQL that makes the tables of a log whose ids are of `id_type` (uuid or text).

    `made` is how many of the files of a log it has been made by already.
    """
    return "\n".join(_renamed(file, names, id_type) for file in _files("log")[made:])


def append_sql(names: LogNames, id_type: str) -> str:
    """Return the SQL that makes a log's append; what it could write besides events is the service's."""
    return _renamed(_newest("append"), names, id_type)


@cache
def _files(subject: str) -> list[Migration]:
    return [file for file in migrations() if file.name.endswith(f"_{subject}.sql")]


def _newest(subject: str) -> Migration:
    return _files(subject)[-1]


def _renamed(file: Migration, names: LogNames, id_type: str) -> str:
    def own(found: re.Match[str]) -> str:
        return Identifier(names.schema, getattr(names, found[1])).as_string()

    shared, _, _ = file.sql.partition(_OWN)
    return _IDS.sub(rf"\1 {id_type}", _NAMES.sub(own, shared))
