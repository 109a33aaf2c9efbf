"""Columns as PostgreSQL's binary arrays, in one pass of plain Python: much faster than the driver's lists."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format


class Packed:
    """An array as it goes over the wire; each subclass is one type."""

    __slots__ = ("data",)
    array_oid = 0
    oid = 0

    def __init__(self, items: Sequence[bytes]) -> None:
        head = _HEAD(1, 1, self.oid, len(items), 1) if items else _HEAD_EMPTY(0, 0, self.oid)
        self.data = head + b"".join(items)


class Uuids(Packed):
    """uuid[]."""

    __slots__ = ()
    array_oid, oid = 2951, 2950


class Bigints(Packed):
    """bigint[]."""

    __slots__ = ()
    array_oid, oid = 1016, 20


class Integers(Packed):
    """integer[]."""

    __slots__ = ()
    array_oid, oid = 1007, 23


class Texts(Packed):
    """text[]."""

    __slots__ = ()
    array_oid, oid = 1009, 25


class Byteas(Packed):
    """bytea[]."""

    __slots__ = ()
    array_oid, oid = 1001, 17


class Booleans(Packed):
    """boolean[]."""

    __slots__ = ()
    array_oid, oid = 1000, 16


class Times(Packed):
    """timestamptz[]."""

    __slots__ = ()
    array_oid, oid = 1185, 1184


_HEAD = struct.Struct("!iiIii").pack
_HEAD_EMPTY = struct.Struct("!iiI").pack
_LENGTH = struct.Struct("!i").pack
_BIGINT = struct.Struct("!iq").pack
_INTEGER = struct.Struct("!ii").pack
_UUID_LENGTH = _LENGTH(16)
_NULL = _LENGTH(-1)
_BOOLEAN = {True: _LENGTH(1) + b"\x01", False: _LENGTH(1) + b"\x00"}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def uuids(values: Iterable[UUID | None]) -> Uuids:
    """Return `values` as uuid[]."""
    return Uuids([_NULL if value is None else _UUID_LENGTH + value.bytes for value in values])


def bigints(values: Iterable[int]) -> Bigints:
    """Return `values` as bigint[]."""
    return Bigints([_BIGINT(8, value) for value in values])


def integers(values: Iterable[int]) -> Integers:
    """Return `values` as integer[]."""
    return Integers([_INTEGER(4, value) for value in values])


def _sized(value: bytes) -> bytes:
    return _LENGTH(len(value)) + value


def texts(values: Iterable[str]) -> Texts:
    """Return `values` as text[]."""
    return Texts([_sized(value.encode()) for value in values])


@lru_cache(maxsize=1024)
def _name(value: str) -> bytes:
    return _sized(value.encode())


def names(values: Iterable[str]) -> Texts:
    """Return `values`, of which there are only so many different ones, as text[]."""
    return Texts([_name(value) for value in values])


def byteas(values: Iterable[bytes]) -> Byteas:
    """Return `values` as bytea[]."""
    return Byteas([_LENGTH(len(value)) + value for value in values])


def booleans(values: Iterable[bool]) -> Booleans:
    """Return `values` as boolean[]."""
    return Booleans([_BOOLEAN[value] for value in values])


def times(values: Iterable[datetime | None]) -> Times:
    """Return `values` (with a time zone) as timestamptz[]."""
    return Times(
        [_NULL if value is None else _BIGINT(8, (value - _EPOCH) // _MICROSECOND) for value in values]
    )


def _dumper(cls: type[Packed]) -> type[Dumper]:
    class PackedDumper(Dumper):
        format = Format.BINARY
        oid = cls.array_oid

        def dump(self, obj: Packed) -> bytes:
            return obj.data

    return PackedDumper


for _cls in (Uuids, Bigints, Integers, Texts, Byteas, Booleans, Times):
    psycopg.adapters.register_dumper(_cls, _dumper(_cls))
