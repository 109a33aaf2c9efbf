"""What the roles of a process share, on servers of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from deploy.embedded import EmbeddedStack
from handlers.adapters.key_hints import KeyHints
from handlers.adapters.keyring import Keyring
from handlers.bootstrap.process import connected
from handlers.settings import Settings
from tests.support.waiting import soon


async def test_the_keys_of_a_process_end_with_a_hint_and_stay_in_memory_only_while_hints_are_heard(
    own_stack: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[UUID] = asyncio.Queue()
    monkeypatch.setattr(Keyring, "forget", lambda _, tenant: told.put_nowait(tenant))  # pyright: ignore
    monkeypatch.setattr(KeyHints, "hearing", lambda _: None)  # pyright: ignore
    at, tenant = own_stack.endpoints, uuid4()
    settings = Settings.model_validate(
        {
            "nats_url": at.nats_url,
            "postgres_url": at.postgres_url,
            "master_key_file": tmp_path / "master.key",
            "create_keys": True,
        }
    )
    async with (
        connected(settings) as process,
        await psycopg.AsyncConnection.connect(at.postgres_url, autocommit=True) as connection,
    ):
        await process.nc.publish(process.subjects.hint("erased"), str(tenant).encode())
        assert await soon(told.get()) == tenant

        made = (await process.keyring.prepare([tenant]))[tenant]
        key_id = made.current.id
        await connection.execute(
            "INSERT INTO service.tenant_keys (key_id, tenant_id, wrapped, created_at)"
            " VALUES (%s, %s, %s, now())",
            (key_id, tenant, made.wrapped),
        )
        assert key_id in await process.keyring.find([key_id])
        await connection.execute("DELETE FROM service.tenant_keys WHERE key_id = %s", (key_id,))
        assert key_id not in await process.keyring.find([key_id])
