"""A process starts only with the master key that its database's keys were wrapped with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from deploy.embedded import EmbeddedStack
from handlers.adapters import key_check
from handlers.adapters.key_check import OtherMasterKey
from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import MasterKey
from handlers.bootstrap.process import connected
from handlers.settings import Settings
from handlers.store.event_store import EventStore

ONE, OTHER = MasterKey(b"a" * 32), MasterKey(b"b" * 32)


@pytest.fixture
async def connection(store_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as opened:
        yield opened


async def wrapped_by(connection: psycopg.AsyncConnection, key: MasterKey, store_url: str) -> UUID:
    """Store a tenant's key, as a former version has, and return its id."""
    tenant = uuid4()
    async with EventStore(store_url) as store:
        made = (await Keyring(store.tenant_keys, key).prepare([tenant]))[tenant]
    await connection.execute(
        "INSERT INTO service.tenant_keys (key_id, tenant_id, wrapped, created_at) VALUES (%s, %s, %s, now())",
        (made.current.id, tenant, made.wrapped),
    )
    return made.current.id


async def test_the_first_key_is_the_databases_from_then_on(connection: psycopg.AsyncConnection) -> None:
    await key_check.require(connection, ONE)
    await key_check.require(connection, ONE)
    with pytest.raises(OtherMasterKey, match="TENANTS_MASTER_KEY_FILE"):
        await key_check.require(connection, OTHER)
    await key_check.require(connection, ONE)


async def test_a_database_of_a_former_version_takes_only_the_key_that_wrapped_its_first(
    connection: psycopg.AsyncConnection, store_url: str
) -> None:
    await wrapped_by(connection, ONE, store_url)
    with pytest.raises(OtherMasterKey):
        await key_check.require(connection, OTHER)
    await key_check.require(connection, ONE)


async def test_a_key_that_cannot_be_unwrapped_is_never_an_erased_one(
    connection: psycopg.AsyncConnection, store_url: str
) -> None:
    # Given a value whose key another master key has wrapped, and one that is as it should be
    lost, well = await wrapped_by(connection, OTHER, store_url), await wrapped_by(connection, ONE, store_url)
    async with EventStore(store_url) as store:
        ring = Keyring(store.tenant_keys, ONE)
        good = (await ring.find([well]))[well].token("Ada")
        text = f'{{"lost":"sealed:{lost}:AAAA","well":"{good}","none":"sealed:{uuid4()}:AAAA"}}'.encode()
        # When one is asked for alone, it is refused
        with pytest.raises(key_check.MasterKeyError, match="another master key"):
            await ring.open_json(text)
        # And in a page it stands as what it is
        shown = await ring.open_json(text, lenient=True)
    assert shown == b'{"lost":"unreadable","well":"Ada","none":"erased"}'


async def test_a_process_with_another_key_refuses_to_start(own_stack: EmbeddedStack, tmp_path: Path) -> None:
    def settings(key: str) -> Settings:
        return Settings.model_validate(
            {
                "nats_url": own_stack.endpoints.nats_url,
                "postgres_url": own_stack.endpoints.postgres_url,
                "master_key_file": tmp_path / key,
                "create_keys": True,
            }
        )

    async with connected(settings("first.key")):
        pass
    with pytest.raises(OtherMasterKey):
        async with connected(settings("second.key")):
            pass
    async with connected(settings("first.key")):
        pass
