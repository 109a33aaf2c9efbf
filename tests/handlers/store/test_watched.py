"""A connection that stays watched: it hears of its end by itself, and leaves its socket in time."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
import uvloop

from handlers.store.watched import WatchedConnection
from tests.support.proxy import Proxy
from tests.support.waiting import soon, until, within

AT_WORK = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
FAREWELL = b"E\x00\x00\x00\x24SFATAL\x00VFATAL\x00C57P01\x00Mgone\x00\x00"
"""The server's last message when an administrator ends a connection."""


async def _opened(url: str) -> WatchedConnection:
    return await WatchedConnection.connect(url, autocommit=True)


async def _number(connection: WatchedConnection, number: int) -> int:
    row = await (await connection.execute("SELECT %s::int", (number,))).fetchone()
    assert row is not None
    return row[0]


def test_a_connection_that_rests_hears_of_its_end(postgres_url: str) -> None:
    async def play() -> None:
        async with Proxy(postgres_url) as proxy:
            connection = await _opened(proxy.url)
            assert await _number(connection, 1) == 1
            proxy.reset(FAREWELL)
            await until(lambda: connection.closed)
            with pytest.raises(psycopg.OperationalError):
                await _number(connection, 2)
            await connection.close()

    uvloop.run(play())


def test_the_socket_of_a_lost_connection_serves_the_next_one(postgres_url: str) -> None:
    async def play() -> None:
        for _ in range(3):
            async with Proxy(postgres_url) as proxy:
                lost, resting = await _opened(proxy.url), await _opened(proxy.url)
                numbers = {lost.fileno(), resting.fileno()}
                assert await _number(resting, 1) == 1
                waiting = asyncio.create_task(lost.execute("SELECT pg_sleep(60)"))
                await _until_at_work(postgres_url)
                proxy.reset()
                with pytest.raises(psycopg.OperationalError):
                    await soon(waiting)
            others = [await _opened(postgres_url) for _ in range(8)]
            assert numbers & {other.fileno() for other in others}
            await lost.close()
            await resting.close()  # must not end the watch of whoever has its number now
            async with within("the answers on the other connections"):
                assert await asyncio.gather(
                    *(_number(*each) for each in zip(others, range(8), strict=True))
                ) == [*range(8)]
            for other in others:
                await other.close()

    uvloop.run(play())


def test_a_connection_whose_user_was_cancelled_goes_on(postgres_url: str) -> None:
    async def play() -> None:
        connection = await _opened(postgres_url)
        waiting = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await _until_at_work(postgres_url)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(waiting)
        assert await _number(connection, 3) == 3
        await connection.close()

    uvloop.run(play())


def test_more_than_the_socket_takes_goes_out_in_parts(postgres_url: str) -> None:
    async def play() -> None:
        connection = await _opened(postgres_url)
        large = b"x" * (32 * 1024 * 1024)
        row = await (await connection.execute("SELECT octet_length(%b)", (large,))).fetchone()
        assert row == (len(large),)
        async with connection.pipeline():
            sent = [
                await connection.execute("SELECT octet_length(%b)", (large[: 1 << 20],)) for _ in range(16)
            ]
        assert [await each.fetchone() for each in sent] == [(1 << 20,)] * 16
        await connection.close()

    uvloop.run(play())


async def _until_at_work(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as looking:
        while not (await looking.execute(AT_WORK)).rowcount:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
