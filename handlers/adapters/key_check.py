"""Whether a master key is the one of a database: a process with another would seal what nobody can read
again.

The first process leaves a value in the database that its key alone gives. Where a former version has wrapped
keys already, the first of them has to be of this key.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

from handlers.adapters.keyring import binding
from handlers.adapters.keys import MasterKey, MasterKeyError

CHECK_VALUE = b"SELECT master_key FROM service.log_identity"
"""What the first process left; null where none has been."""

_KNOWN = "SELECT master_key FROM service.log_identity FOR NO KEY UPDATE"
_FIRST = """
SELECT tenant_id, key_id, wrapped FROM service.tenant_keys WHERE wrapped IS NOT NULL
ORDER BY created_at, key_id LIMIT 1"""
_LEAVE = "UPDATE service.log_identity SET master_key = %s WHERE master_key IS NULL"

Connection = psycopg.AsyncConnection[Any]


class OtherMasterKey(MasterKeyError):
    """The master key is not the one that this database's keys were wrapped with."""

    def __init__(self) -> None:
        super().__init__(
            "The master key is not the one that the tenants' keys in this database were wrapped with. Name"
            " the file of that one with TENANTS_MASTER_KEY_FILE, or the right database with"
            " TENANTS_POSTGRES_URL."
        )


async def require(connection: Connection, key: MasterKey) -> None:
    """Raise OtherMasterKey where `key` is not the database's; one without any has this from now on."""
    async with connection.transaction():
        if not await matches(connection, key):
            raise OtherMasterKey
        await connection.execute(_LEAVE, (key.check_value(),))


async def matches(connection: Connection, key: MasterKey) -> bool:
    """Return whether `key` is the database's, or may be, since that has none."""
    known = await (await connection.execute(_KNOWN)).fetchone()
    if known is not None and known[0] is not None:
        return known[0] == key.check_value()
    first = await (await connection.execute(_FIRST)).fetchone()
    return first is None or await _unwraps(key, *first)


async def _unwraps(key: MasterKey, tenant_id: UUID, key_id: UUID, wrapped: bytes) -> bool:
    try:
        await key.unwrap(wrapped, binding(tenant_id, key_id))
    except MasterKeyError:
        return False
    return True
