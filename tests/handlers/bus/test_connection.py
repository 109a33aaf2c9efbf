"""What the bus's connection does beyond nats-py's own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import nats

from handlers.adapters.tasks import end
from handlers.bus.connection import harden, publish
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE

CHUNK = 65536


class Line:
    """A line to the server that can be held up on its way there."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.holds_back = asyncio.Event()

    async def carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection until either end closes it."""
        far, there = await asyncio.open_connection(*self._server)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._there(near, there))
            group.create_task(self._back(far, back))

    async def _there(self, near: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while sent := await near.read(CHUNK):
            if not self.is_open.is_set():
                self.holds_back.set()
            await self.is_open.wait()
            there.write(sent)
        there.close()

    async def _back(self, far: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while said := await far.read(CHUNK):
            back.write(said)
        back.close()


@asynccontextmanager
async def line_to(url: str) -> AsyncGenerator[tuple[Line, str]]:
    """Give a line to the server at `url`, and the URL of its near end."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    line = Line(parts.hostname, parts.port)
    async with await asyncio.start_server(line.carry, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        yield line, urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))


async def test_a_cancellation_that_comes_while_it_flushes_is_kept(nats_url: str) -> None:
    nc = await nats.connect(nats_url, pending_size=1)  # whoever publishes waits for the flush
    harden(nc)

    async def for_ever() -> None:
        while True:
            await nc.publish(f"t{uuid4().hex}.notice", b"{}")

    publishing = asyncio.create_task(for_ever())
    await asyncio.sleep(0)
    publishing.cancel()
    await asyncio.wait([publishing], timeout=PATIENCE)
    kept = publishing.cancelled()
    await nc.close()
    await asyncio.wait([publishing])
    assert kept


async def test_what_is_published_is_with_the_server(nats_url: str) -> None:
    subject = f"t{uuid4().hex}.notice"
    async with line_to(nats_url) as (line, near):
        caller, listener = await nats.connect(near), await nats.connect(nats_url)
        heard = await listener.subscribe(subject)
        await listener.flush()
        line.is_open.clear()
        publishing = asyncio.create_task(publish(caller, subject, b"{}", {"Nats-Msg-Id": "1"}))
        await line.holds_back.wait()
        assert not publishing.done()
        line.is_open.set()
        await publishing
        assert (await heard.next_msg(timeout=PATIENCE)).data == b"{}"
        await caller.close()
        await listener.close()


async def test_a_flush_that_was_given_up_and_answered_late_ends_no_connection(nats_url: str) -> None:
    subject = f"t{uuid4().hex}.news"
    async with Proxy(nats_url) as proxy:
        nc = await nats.connect(proxy.url)
        harden(nc)
        heard = await nc.subscribe(subject)
        await nc.flush()
        proxy.hush()
        flushing = asyncio.create_task(nc.flush())
        await asyncio.sleep(0)
        await end(flushing)
        proxy.speak()
        await nc.publish(subject, b"{}")
        assert (await heard.next_msg(timeout=PATIENCE)).data == b"{}"
        await nc.close()
