"""A key that was destroyed is not read with, also by a process that was not told of its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

import nats
import pytest

from handlers.adapters.key_hints import KeyHints
from handlers.adapters.keyring import Keyring, WrappedKey
from handlers.bus.connection import harden
from handlers.store.event_store import EventStore
from handlers.wire.sealing import sealed
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.bus import Bus, own_bus
from tests.support.keys import KEY, keyring_of
from tests.support.proxy import Proxy
from tests.support.waiting import until, within


class Reader(NamedTuple):
    """A process that keeps keys in memory, on a connection of its own that a test can disturb."""

    proxy: Proxy
    hints: KeyHints
    keyring: Keyring
    tenant_id: UUID
    key_id: UUID
    store: EventStore
    bus: Bus

    async def reads(self) -> bool:
        return self.key_id in await self.keyring.find([self.key_id])

    async def hears(self, expected: bool) -> None:
        await until(lambda: (self.hints.hearing() is not None) == expected)

    async def destroyed(self) -> None:
        """Destroy the key, and tell all that hear it."""
        async with self.store.transaction() as transaction:
            await transaction.connection.execute(
                "UPDATE service.tenant_keys SET wrapped = NULL, destroyed_at = now()"
            )
        await self.bus.nc.publish(self.bus.subjects.hint("erased"), str(self.tenant_id).encode())
        await self.bus.nc.flush()


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[EventStore]:
    async with EventStore(store_url) as opened:
        yield opened


@pytest.fixture
async def key(store: EventStore) -> tuple[UUID, UUID]:
    """A tenant, and its key."""
    tenant_id, key_id = uuid4(), uuid4()
    wrapped = await KEY.wrap(b"s" * 32, tenant_id.bytes + key_id.bytes)
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "INSERT INTO service.tenant_keys (key_id, tenant_id, wrapped, created_at)"
            " VALUES (%s, %s, %s, now())",
            (key_id, tenant_id, wrapped),
        )
    return tenant_id, key_id


@pytest.fixture
async def reader(nats_url: str, store: EventStore, key: tuple[UUID, UUID]) -> AsyncIterator[Reader]:
    async with own_bus(nats_url) as bus, Proxy(nats_url) as proxy:
        nc = await nats.connect(proxy.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        harden(nc)
        hints = KeyHints(nc, bus.subjects.hint("erased"), beat=0.02, sure=0.5)
        keyring = keyring_of(store, fresh=1e9, hearing=hints.hearing)
        await hints.start(keyring.forget)
        made = Reader(proxy, hints, keyring, *key, store, bus)
        assert await made.reads()
        yield made
        await hints.stop()
        await nc.close()


async def test_who_hears_of_a_keys_end_forgets_it_and_keeps_it_until_then(reader: Reader) -> None:
    async with reader.store.transaction() as transaction:
        await transaction.connection.execute("DELETE FROM service.tenant_keys")
    assert await reader.reads(), "from memory"
    await reader.destroyed()
    async with within("a reader that reads no more"):
        while await reader.reads():  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)


async def test_who_lost_its_connection_reads_no_key_from_memory_then_or_later(reader: Reader) -> None:
    await reader.proxy.down()
    await reader.hears(False)
    assert await reader.reads(), "it was not destroyed yet"
    await reader.destroyed()
    assert not await reader.reads()
    await reader.proxy.up()
    await reader.hears(True)


async def test_who_was_away_only_for_a_moment_has_forgotten_what_it_knew(reader: Reader) -> None:
    before = reader.hints.hearing()
    await reader.proxy.down()
    await reader.hears(False)
    await reader.destroyed()
    await reader.proxy.up()
    await reader.hears(True)
    assert reader.hints.hearing() != before
    assert not await reader.reads()


async def test_who_hears_nothing_from_a_connection_that_stands_reads_no_key_from_memory(
    reader: Reader,
) -> None:
    reader.proxy.hush()
    await reader.destroyed()
    await reader.hears(False)
    assert not await reader.reads()
    reader.proxy.speak()


class Overtaken:
    """Rows of keys that are read just before, and arrive just after the hint of their end."""

    def __init__(self, store: EventStore) -> None:
        self._rows = store.tenant_keys
        self.hint = asyncio.Event()
        self.read = asyncio.Event()

    async def by_id(self, keys: Collection[UUID]) -> Sequence[WrappedKey]:
        rows = await self._rows.by_id(keys)
        self.read.set()
        await self.hint.wait()
        return rows

    async def of_tenants(self, tenants: Collection[UUID]) -> Sequence[WrappedKey]:
        return await self._rows.of_tenants(tenants)


async def test_a_key_that_ends_while_it_is_read_is_not_kept(
    store: EventStore, key: tuple[UUID, UUID]
) -> None:
    tenant_id, key_id = key
    rows = Overtaken(store)
    keyring = Keyring(rows, KEY)
    reading = asyncio.create_task(keyring.find([key_id]))
    await rows.read.wait()
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "UPDATE service.tenant_keys SET wrapped = NULL, destroyed_at = now()"
        )
    keyring.forget(tenant_id)
    rows.hint.set()
    await reading
    assert await keyring.find([key_id]) == {}


class Counting:
    """Rows of keys that count how often they were read."""

    def __init__(self, store: EventStore) -> None:
        self._rows = store.tenant_keys
        self.reads = 0

    async def by_id(self, keys: Collection[UUID]) -> Sequence[WrappedKey]:
        return await self._rows.by_id(keys)

    async def of_tenants(self, tenants: Collection[UUID]) -> Sequence[WrappedKey]:
        self.reads += 1
        return await self._rows.of_tenants(tenants)


async def test_a_new_key_is_kept_once_it_is_stored(store: EventStore) -> None:
    rows, tenant_id = Counting(store), uuid4()
    keyring = Keyring(rows, KEY)
    made = (await keyring.prepare([tenant_id]))[tenant_id]
    assert made.wrapped is not None
    keyring.stored([made])

    known = (await keyring.prepare([tenant_id]))[tenant_id]

    assert (known.current, known.wrapped, rows.reads) == (made.current, None, 1)


async def test_a_new_key_that_may_have_ended_is_not_kept(store: EventStore) -> None:
    rows, tenant_id = Counting(store), uuid4()
    keyring = Keyring(rows, KEY)
    made = (await keyring.prepare([tenant_id]))[tenant_id]
    keyring.forget(tenant_id)
    keyring.stored([made])
    await keyring.prepare([tenant_id])
    assert rows.reads == 2


async def test_what_was_opened_goes_from_memory_with_its_key(
    store: EventStore, key: tuple[UUID, UUID]
) -> None:
    tenant_id, _ = key
    keyring = Keyring(store.tenant_keys, KEY)
    keys = (await keyring.prepare([tenant_id]))[tenant_id]
    state = sealed(ProfileUpdated(metadata={"crm": "7"}), keys.current)
    assert keys.opened(state).metadata == {"crm": "7"}
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "UPDATE service.tenant_keys SET wrapped = NULL, destroyed_at = now()"
        )
    keyring.forget(tenant_id)

    now = (await keyring.prepare([tenant_id]))[tenant_id]

    assert now.opened(state).metadata == {"sealed:": "erased"}
