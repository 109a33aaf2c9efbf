"""Where an erasure begins and ends: what came later stays, and what is left is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from handlers.adapters import jetstream
from handlers.adapters.command_stream import CommandStream
from handlers.adapters.effects import EffectFailed
from handlers.adapters.erasure import Erasure
from handlers.bus.streams import Limits, declare
from handlers.store.batch import Batch, DeadLetterRow
from handlers.store.event_store import EventStore
from tests.support.bus import Bus, messages_of, own_bus
from tests.support.keys import keyring_of


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with own_bus(nats_url) as own:
        await declare(*own, Limits())
        yield own


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[EventStore]:
    async with EventStore(store_url) as opened:
        yield opened


class House:
    """The database of an erasure, whose connections are counted."""

    def __init__(self, url: str, bus: Bus) -> None:
        self.url, self.bus, self.opened = url, bus, 0
        self.erasure = Erasure(self.connect, *bus)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        self.opened += 1
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            yield connection

    async def sql(self, query: str, *values: Any) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(query.encode(), values)

    async def accept(self, tenant_id: UUID) -> int:
        """Accept a command of the tenant, and return its sequence."""
        subject = self.bus.subjects.command(tenant_id, "resume")
        return (await self.bus.nc.jetstream().publish(subject, b"")).seq

    async def decided(self, upto: int) -> None:
        """Say that all partitions are decided up to a sequence."""
        info = await jetstream.stream_info(self.bus.nc, self.bus.streams.commands)
        assert info is not None
        await self.sql(
            "INSERT INTO service.command_progress (partition, sequence, stream)"
            " SELECT n, %s, %s FROM generate_series(-1, 63) n"
            " ON CONFLICT (partition) DO UPDATE SET sequence = excluded.sequence, stream = excluded.stream",
            *(upto, info["created"]),
        )


@pytest.fixture
def house(store_url: str, bus: Bus) -> House:
    return House(store_url, bus)


async def test_a_command_that_was_accepted_after_it_began_stays_to_be_decided(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    tenant_id, connect = uuid4(), house.connect
    before = await house.accept(tenant_id)

    @asynccontextmanager
    async def connected() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        if house.opened == 1:  # the erasure looks whether those are decided that it has to wait for
            await house.accept(tenant_id)
            await house.decided(before)
        async with connect() as connection:
            yield connection

    async def nothing(_: CommandStream) -> None:
        """Remove no bytes: that waits until all commands are decided."""

    monkeypatch.setattr(CommandStream, "sweep", nothing)
    erased = await Erasure(connected, *house.bus).erase(tenant_id)

    assert {each.store: each.count for each in erased.stores}[house.bus.streams.commands] == 1
    left = await messages_of(house.bus.nc, house.bus.streams.commands)
    assert [message.sequence for message in left] == [before + 1]


async def test_a_tenant_that_never_had_a_key_gets_none_that_is_stored_afterwards(
    house: House, store: EventStore
):
    tenant_id = uuid4()

    first = await house.erasure.erase(tenant_id)
    again = await house.erasure.erase(tenant_id)

    assert len(first.key_ids) == 1  # one that was never there: it says that the end has been
    assert again.key_ids == first.key_ids
    keys = (await keyring_of(store).prepare({tenant_id}))[tenant_id]
    assert keys.wrapped is None


def a_letter(tenant_id: UUID) -> DeadLetterRow:
    return DeadLetterRow(uuid4(), str(tenant_id), "S", 1, "invalid-command", "s", "{}", b"", "{}", 0)


KEPT = {
    "tenant_keys": ("UPDATE", "A key of the tenant is still there"),
    "dead_letters": ("DELETE", r"service\.dead_letters still holds"),
    "dead_letter_handling": ("DELETE", r"service\.dead_letter_handling still holds"),
}
"""Which deed a table's trigger undoes, so that something is left there; and what is told of it."""


@pytest.mark.parametrize("table", KEPT)
async def test_what_is_left_is_told_and_ends_it(house: House, store: EventStore, table: str):
    tenant_id, (deed, told) = uuid4(), KEPT[table]
    keys = (await keyring_of(store).prepare({tenant_id}))[tenant_id]
    await store.append(Batch(dead_letters=[a_letter(tenant_id)]))
    await house.sql(
        "INSERT INTO service.tenant_keys (key_id, tenant_id, created_at, wrapped) VALUES (%s, %s, now(), %s)",
        *(keys.current.id, tenant_id, keys.wrapped),
    )
    await house.sql("UPDATE service.dead_letters SET published_at = now()")
    await house.sql(
        "INSERT INTO service.dead_letter_handling (id, tenant, dismissed_at, dismissed_by)"
        " SELECT id, tenant, now(), 'ops' FROM service.dead_letters"
    )
    await house.sql("CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$")
    await house.sql(
        f"CREATE TRIGGER kept BEFORE {deed} ON service.{table} FOR EACH ROW EXECUTE FUNCTION kept()"
    )

    with pytest.raises(EffectFailed, match=told):
        await house.erasure.erase(tenant_id)
