"""Rows in the binary form of COPY: for a table that nobody reads yet, far less work than an upsert."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from handlers.projector.folding import Row
from projections.read_model import ReadModel

BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What COPY reads first: its signature, no flags, no extension."""

END = b"\xff\xff"
"""What COPY reads last."""

_HEAD = struct.Struct("!hi16si16siqiqiqiqi").pack
"""How many columns there are, and those of COMMON up to the size of `state`."""

_MIDDLE = struct.Struct("!iqi").pack
"""`parked`, and the size of `status`."""

_LENGTH = struct.Struct("!i").pack
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def statement(model: ReadModel, generation: int) -> bytes:
    """Return the statement that takes what `block` gives, between BEGIN and END."""
    columns = ", ".join(column.name for column in model.all_columns)
    return f"COPY service.{model.table(generation)} ({columns}) FROM STDIN (FORMAT BINARY)".encode()


def block(model: ReadModel, rows: Iterable[Row]) -> bytes:
    """Return `rows` as COPY reads them; the columns behind COMMON are texts.

    Written out for the columns that every read model has: by a function for each type it takes twice as long.
    """
    count = len(model.all_columns)
    parts: list[bytes] = []
    for stream, tenant, born, created, updated, version, state, parked, status, body, *texts in rows:
        since, until = (created - _EPOCH) // _MICROSECOND, (updated - _EPOCH) // _MICROSECOND
        known = status.encode()
        parts += (
            _HEAD(
                count, 16, stream.bytes, 16, tenant.bytes, 8, born, 8, since, 8, until, 8, version, len(state)
            ),
            state,
            _MIDDLE(8, parked, len(known)),
            known,
            _LENGTH(len(body)),
            body,
        )
        for text in texts:
            encoded = text.encode()
            parts += (_LENGTH(len(encoded)), encoded)
    return b"".join(parts)
