"""Several NATS servers: one is killed, another goes on; credentials are known to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from handlers.client.connecting import connected
from tests.support.cluster import Cluster
from tests.support.waiting import PATIENCE, until, within


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path) as pair:
        yield pair


def at(nc: Client) -> str | None:
    """Return where a connection is, without credentials."""
    url = nc.connected_url
    return None if url is None else f"{url.hostname}:{url.port}"


async def answers(nc: Client) -> bool:
    """Return whether the server answers to this connection."""
    try:
        await nc.flush(timeout=5)
    except (nats.errors.Error, OSError):
        return False
    return nc.is_connected


async def goes_on(nc: Client, url: str) -> None:
    """Wait until the connection works at the server of the URL."""
    async with within(f"a connection that works at {url}"):
        while not (at(nc) == url.rpartition("@")[2] and await answers(nc)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_list_of_servers_outlives_each_of_them_in_turn(cluster: Cluster):
    both = f"{cluster.url(0)}, {cluster.url(1)}"
    nc = await connected(both, PATIENCE, {"dont_randomize": True})
    try:
        await goes_on(nc, cluster.url(0))
        await cluster.kill(0)
        await goes_on(nc, cluster.url(1))
        await cluster.start(0)
        await cluster.kill(1)
        await goes_on(nc, cluster.url(0))
    finally:
        await nc.close()


async def test_the_only_server_that_is_known_may_be_away_for_long(cluster: Cluster):
    await cluster.kill(1)
    nc = await connected(cluster.url(0), PATIENCE, {"reconnect_time_wait": 0.01})
    try:
        await cluster.kill(0)
        await until(lambda: not nc.is_connected)
        await asyncio.sleep(1.5)  # a hundred attempts and more
        await cluster.start(0)
        await goes_on(nc, cluster.url(0))
    finally:
        await nc.close()


async def test_a_server_that_others_tell_of_gets_the_credentials_too(cluster: Cluster):
    nc = await connected(cluster.url(0), PATIENCE, {})
    try:
        other = cluster.url(1).rpartition("@")[2]
        await until(lambda: any(server.netloc == other for server in nc.discovered_servers))
        await cluster.kill(0)
        await goes_on(nc, cluster.url(1))
    finally:
        await nc.close()
