"""The end of a tenant's data outside its own schema and bucket: its key, and what still holds anything of it.

Personal fields are stored sealed, wherever they stand, so the end of the key is the end of them all. What is
left is taken away store by store, and each store is looked at again afterwards. All of it may be done twice:
a second time finds nothing to do, and says what the first one did not live to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

import msgspec
from nats.aio.client import Client
from psycopg import AsyncConnection

from handlers.adapters import jetstream
from handlers.adapters.command_places import PLACES, Place
from handlers.adapters.command_stream import CommandStream
from handlers.adapters.effects import EffectFailed
from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.schemas import Connect
from handlers.adapters.sweep import StoreErased, Sweep
from handlers.wire.subjects import Streams, Subjects


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did: the keys that were destroyed, ever, and each store; nothing personal is in it."""

    key_ids: list[str]
    stores: list[StoreErased]


# The log's head is locked first, as by whoever appends: no key can be stored between the look and its end.
_LOCK = "SELECT FROM service.event_lock WHERE single FOR NO KEY UPDATE"
_DESTROY = """
UPDATE service.tenant_keys SET wrapped = NULL, destroyed_at = clock_timestamp()
WHERE tenant_id = %s AND destroyed_at IS NULL"""
_NEVER_ANY = """
INSERT INTO service.tenant_keys (key_id, tenant_id, created_at, destroyed_at)
SELECT %s, %s, clock_timestamp(), clock_timestamp()
WHERE NOT EXISTS (SELECT FROM service.tenant_keys WHERE tenant_id = %s)"""
_KEYS = "SELECT key_id FROM service.tenant_keys WHERE tenant_id = %s ORDER BY created_at, key_id"
_LIVING_KEYS = "SELECT count(*) FROM service.tenant_keys WHERE tenant_id = %s AND wrapped IS NOT NULL"

_UNTOLD = "SELECT count(*) FROM service.dead_letters WHERE tenant = %s::uuid::text AND published_at IS NULL"

_TABLES = {
    "dead_letters": "tenant = %s::uuid::text",
    "snapshots": "stream_id IN (SELECT originator_id FROM service.events WHERE tenant_id = %s)",
}
"""Rows that go, by the table and whose they are; what they hold is sealed, or tells of nobody.

The ledger keeps its rows as long as any other's: ids, keyed hashes and outcomes, which name nobody
(tenant_domain/refusals.py says which refusals are recorded). Who sends a command again is answered as before.
"""

_ALL = 2**63 - 1
"""A sequence behind all that a stream can hold."""

_LOOK = 0.1
"""Seconds between two looks at commands that are still to be decided."""


class Erasure:
    """Erases tenants; `streams` that do not exist hold nothing.

    What a tenant was sent is decided first, which may take `patience` seconds.
    """

    def __init__(
        self, connect: Connect, nc: Client, subjects: Subjects, streams: Streams, *, patience: float = 20.0
    ) -> None:
        self._connect, self._nc, self._subjects, self._streams = connect, nc, subjects, streams
        self._patience = patience
        self._commands = CommandStream(nc, subjects, streams.commands, self._places)
        self._sweep = Sweep(connect, self._commands)

    async def erase(self, tenant_id: UUID) -> Erased:
        """Destroy the tenant's key, and remove what is left of it.

        Commands that were accepted are decided before they go. With the key gone, what they leave behind can
        be read by nobody, like what is left by those that come later.
        Raises EffectFailed when something is still there, and what the servers' clients raise: do it again.
        """
        async with self._connect() as connection:
            key_ids, destroyed = await _destroy_keys(connection, tenant_id)
            await self._nc.publish(self._subjects.hint("erased"), str(tenant_id).encode())
            accepted = await self._decided(connection, tenant_id)
            stores = [destroyed, *[await _delete_rows(connection, name, tenant_id) for name in _TABLES]]
            for stream, subjects, upto, former in self._whose(tenant_id, accepted):
                stores.append(await self._delete_messages(stream, subjects, upto, former))
        stores += await self._sweep.done()
        return Erased(key_ids=key_ids, stores=stores)

    async def _places(self) -> dict[int, Place]:
        async with self._connect() as connection:
            rows = await (await connection.execute(PLACES.encode())).fetchall()
        return {partition: Place(*place) for partition, *place in rows}

    async def _decided(self, connection: AsyncConnection[Any], tenant_id: UUID) -> int:
        """Wait until all commands of the tenant that are accepted by now are decided, and the refusals told.

        Returns the sequence of the last one that was accepted, whoever it is for. Raises EffectFailed when it
        takes too long: then nobody decides, or nobody publishes.
        """
        info = await jetstream.stream_info(self._nc, self._streams.commands)
        upto: int = info["state"]["last_seq"] if info is not None else 0
        try:
            async with asyncio.timeout(self._patience):
                for subject in self._subjects.partitioned(tenant_id):
                    while await self._commands.undecided(subject, upto):  # noqa: ASYNC110 - others decide
                        await asyncio.sleep(_LOOK)
                while await _counted(connection, _UNTOLD, tenant_id):  # noqa: ASYNC110 - others publish
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise EffectFailed(
                "Commands of the tenant are still to be decided, or their refusals to be published: "
                "is there a worker with the role commands, and one with relay?"
            ) from None
        return upto

    def _whose(self, tenant_id: UUID, accepted: int) -> tuple[tuple[str, tuple[str, ...], int, str], ...]:
        """Return the streams that hold what was sent: whose subjects, up to where, what to tell of before."""
        return (
            (
                self._streams.commands,
                self._subjects.partitioned(tenant_id),
                accepted,
                "those purged before went with their block of the file",
            ),
            (
                self._streams.dead_letters,
                (self._subjects.dead(str(tenant_id), "*", "*"),),
                _ALL,
                "those that went before were sealed",
            ),
        )

    async def _delete_messages(
        self, stream: str, subjects: Collection[str], upto: int, former: str
    ) -> StoreErased:
        """Overwrite messages one by one: a purge would leave their bytes until their block goes."""
        count = 0
        for subject in subjects:
            count += await self._overwrite(stream, subject, upto)
            left = await jetstream.message(self._nc, stream, 1, subject)
            if left is not None and left.sequence <= upto:
                raise EffectFailed(f"{stream} still holds messages of the tenant.")
        how = f"overwritten one by one, and deleted; {former}"
        return StoreErased(store=stream, what="messages", count=count, how=how, verified=True)

    async def _overwrite(self, stream: str, subject: str, upto: int) -> int:
        """Delete messages up to a sequence, and return how many; the server writes random bytes over each."""
        count = after = 0
        while (found := await jetstream.message(self._nc, stream, after + 1, subject)) is not None:
            after = found.sequence
            if after > upto:
                break
            try:
                await jetstream.call(
                    self._nc, f"STREAM.MSG.DELETE.{stream}", {"seq": after, "no_erase": False}
                )
                count += 1
            except JetStreamError as error:
                if error.code not in (jetstream.NO_MESSAGE, jetstream.DELETE_FAILED):
                    raise
        return count


async def _destroy_keys(connection: AsyncConnection[Any], tenant_id: UUID) -> tuple[list[str], StoreErased]:
    async with connection.transaction():
        await connection.execute(_LOCK)
        destroyed = (await connection.execute(_DESTROY, (tenant_id,))).rowcount
        await connection.execute(_NEVER_ANY, (uuid4(), tenant_id, tenant_id))
        rows = await (await connection.execute(_KEYS, (tenant_id,))).fetchall()
    if await _counted(connection, _LIVING_KEYS, tenant_id):
        raise EffectFailed("A key of the tenant is still there.")
    how = "the wrapped key removed, its table rewritten"
    store = StoreErased(
        store="service.tenant_keys", what="data keys", count=destroyed, how=how, verified=True
    )
    return [str(row[0]) for row in rows], store


async def _delete_rows(connection: AsyncConnection[Any], table: str, tenant_id: UUID) -> StoreErased:
    whose = _TABLES[table]
    delete = f"DELETE FROM service.{table} WHERE {whose}"  # noqa: S608 - names of ours
    deleted = await connection.execute(delete.encode(), (tenant_id,))
    left = f"SELECT count(*) FROM service.{table} WHERE {whose}"  # noqa: S608 - names of ours
    if await _counted(connection, left, tenant_id):
        raise EffectFailed(f"service.{table} still holds rows of the tenant.")
    return StoreErased(
        store=f"service.{table}", what="rows", count=deleted.rowcount, how="deleted", verified=True
    )


async def _counted(connection: AsyncConnection[Any], query: str, tenant_id: UUID) -> int:
    row = await (await connection.execute(query.encode(), (tenant_id,))).fetchone()
    assert row is not None
    return row[0]
