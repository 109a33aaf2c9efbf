"""The connection that appends, as its server goes away."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
import uvloop

from handlers.store.packing import bigint
from handlers.store.watched import WatchedConnection
from handlers.store.writer import Writer
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE

AT_WORK = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


@pytest.mark.parametrize("said", [b"", b"N\0\0"], ids=["in silence", "in the middle of a message"])
def test_who_waits_on_a_connection_that_is_reset_hears_of_it(postgres_url: str, said: bytes) -> None:
    uvloop.run(_reset_at_work(postgres_url, said))


async def _reset_at_work(url: str, said: bytes) -> None:
    async with (
        Proxy(url) as proxy,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as looking,
    ):
        writer = Writer(await WatchedConnection.connect(proxy.url, autocommit=True), patience=60)
        waiting = asyncio.create_task(writer.rows(b"SELECT pg_sleep(%s)::text", [bigint(60)]))
        while not (await looking.execute(AT_WORK)).rowcount:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
        proxy.reset(said)
        await asyncio.wait({waiting}, timeout=PATIENCE)
        assert waiting.done()
        with pytest.raises(psycopg.OperationalError):
            await waiting
        assert writer.lost()
        await writer.close()
