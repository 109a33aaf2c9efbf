"""Values in PostgreSQL's binary form, made by plain Python: much faster than the driver's own way.

Columns are arrays, in one pass.
"""

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
    """A value as it goes over the wire; each subclass is one type, `oid`."""

    __slots__ = ("data",)
    oid = 0

    def __init__(self, data: bytes) -> None:
        self.data = data


class Uuid(Packed):
    """uuid."""

    __slots__ = ()
    oid = 2950


class Bigint(Packed):
    """bigint."""

    __slots__ = ()
    oid = 20


class Text(Packed):
    """text."""

    __slots__ = ()
    oid = 25


class Bytea(Packed):
    """bytea."""

    __slots__ = ()
    oid = 17


class Array(Packed):
    """An array of `item_oid`, made of items with their lengths before them."""

    __slots__ = ()
    item_oid = 0

    def __init__(self, items: Sequence[bytes]) -> None:
        head = _HEAD(1, 1, self.item_oid, len(items), 1) if items else _HEAD_EMPTY(0, 0, self.item_oid)
        super().__init__(head + b"".join(items))


class Uuids(Array):
    """uuid[]."""

    __slots__ = ()
    oid, item_oid = 2951, 2950


class Bigints(Array):
    """bigint[]."""

    __slots__ = ()
    oid, item_oid = 1016, 20


class Integers(Array):
    """integer[]."""

    __slots__ = ()
    oid, item_oid = 1007, 23


class Texts(Array):
    """text[]."""

    __slots__ = ()
    oid, item_oid = 1009, 25


class Byteas(Array):
    """bytea[]."""

    __slots__ = ()
    oid, item_oid = 1001, 17


class Booleans(Array):
    """boolean[]."""

    __slots__ = ()
    oid, item_oid = 1000, 16


class Times(Array):
    """timestamptz[]."""

    __slots__ = ()
    oid, item_oid = 1185, 1184


_HEAD = struct.Struct("!iiIii").pack
_HEAD_EMPTY = struct.Struct("!iiI").pack
_LENGTH = struct.Struct("!i").pack
_BIGINT = struct.Struct("!iq").pack
_INTEGER = struct.Struct("!ii").pack
_BIGINT_ALONE = struct.Struct("!q").pack
_UUID_LENGTH = _LENGTH(16)
_NULL = _LENGTH(-1)
_BOOLEAN = {True: _LENGTH(1) + b"\x01", False: _LENGTH(1) + b"\x00"}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def uuid(value: UUID) -> Uuid:
    """Return `value` as uuid."""
    return Uuid(value.bytes)


def bigint(value: int) -> Bigint:
    """Return `value` as bigint."""
    return Bigint(_BIGINT_ALONE(value))


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
        oid = cls.oid

        def dump(self, obj: Packed) -> bytes:
            return obj.data

    return PackedDumper


for _cls in (Uuid, Bigint, Text, Bytea, Uuids, Bigints, Integers, Texts, Byteas, Booleans, Times):
    psycopg.adapters.register_dumper(_cls, _dumper(_cls))
