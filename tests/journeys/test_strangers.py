"""What strangers send to the running service, as raw as the bus carries it, is refused and stops nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import nats
import pytest
from nats.aio.msg import Msg

from tests.journeys.conftest import Running
from tests.support.waiting import PATIENCE, within

NO_HEADERS = (
    b"",
    b"\r\n",
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b"garbage\r\n\r\n",
    b"NATS/1.0 \r\n\r\n",
    b"NATS/1.0 \xff\xff\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0\r\nno-colon\r\n\r\n",
    b"NATS/1.0\r\n\xff: \xfe\r\n\r\n",
)
"""Header blocks that are none, or broken; nats-server passes them all on."""

DOORS = (
    "rpc.{tenant}.resume",
    "queries.{tenant}.tenant",
    "queries.fleet.nothing",
    "commands.{tenant}.resume",
)


@asynccontextmanager
async def stranger(url: str) -> AsyncGenerator[asyncio.StreamWriter]:
    """A connection to the bus that says whatever it likes."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    greeting = {"user": at.username, "pass": at.password, "verbose": False, "headers": True}
    writer.write(b"CONNECT %s\r\nPING\r\n" % json.dumps(greeting).encode())
    while (await reader.readline()) != b"PONG\r\n":
        pass
    try:
        yield writer
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("door", DOORS)
async def test_headers_that_are_none_are_answered_and_stop_nobody(service: Running, door: str) -> None:
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    subject = "tenants." + door.format(tenant=uuid4())
    async with await nats.connect(service.at.nats) as nc, stranger(service.at.nats) as writer:
        inbox = nc.new_inbox()
        await nc.subscribe(f"{inbox}.*", cb=answers.put)
        await nc.flush()
        for number, block in enumerate(NO_HEADERS):
            sizes = f"{len(block)} {len(block) + 2}"
            writer.write(f"HPUB {subject} {inbox}.{number} {sizes}\r\n".encode() + block + b"{}\r\n")
        for _ in NO_HEADERS:
            async with within("an answer to the stranger"):
                answer = await answers.get()
            assert answer.data.startswith(b"{")


async def test_subjects_that_are_no_text_are_answered_and_stop_nobody(service: Running) -> None:
    async with await nats.connect(service.at.nats) as nc, stranger(service.at.nats) as writer:
        for door in (b"rpc", b"queries", b"hints"):
            writer.write(b"PUB tenants.%s.\xff\xfe.\xff _INBOX.nobody.x 2\r\n{}\r\n" % door)
        for hint in (b"committed", b"projected", b"moved"):
            writer.write(b"PUB tenants.hints.%s 4\r\n\xff{\x00[\r\n" % hint)
        await writer.drain()
        for door in ("rpc.x.y", "queries.x.y"):
            reply = await nc.request(f"tenants.{door}", b"{}", timeout=PATIENCE)
            assert reply.headers is not None
            assert reply.headers["Nats-Service-Error-Code"].startswith("4")
