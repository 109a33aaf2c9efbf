"""The server itself: real sockets, ports, slow callers, and the end of it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from litestar.types import ASGIApp

from handlers.execution.reply import Reply
from handlers.http_edge.server import HttpServer, PortTaken
from handlers.http_edge.tenants import Doors, Limits
from handlers.http_edge.tokens import Signer
from tests.support.edge import edge
from tests.support.waiting import PATIENCE, soon, within

TENANT = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
PATH = f"/api/v1/tenants/{TENANT}"


class Backend:
    """Doors that answer when a test lets them."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.released = asyncio.Event()

    async def execute(self, _: Any) -> Reply:
        self.entered.set()
        await self.released.wait()
        return Reply(b'{"status":"completed"}')

    async def answer(self, *_: Any) -> bytes:
        return b'{"version":7,"position":1}'

    async def fetch(self, *_: Any) -> Any:
        raise AssertionError


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def app(backend: Backend, signer: Signer) -> ASGIApp:
    return edge(Doors(backend.execute, backend.answer, uuid4, backend.fetch), signer)


@asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncGenerator[HttpServer]:
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "grace": 0.2, **options}
    server = HttpServer(app, **chosen)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def server(app: ASGIApp) -> AsyncIterator[HttpServer]:
    async with serving(app) as running:
        yield running


@pytest.fixture
def headers(signer: Signer) -> dict[str, str]:
    return {"Authorization": f"Bearer {signer.sign(user='ops', role='operator')}"}


async def said(server: HttpServer, request: bytes) -> bytes:
    """What the server says to `request` until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        return await soon(reader.read())
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_port_0_is_a_free_port_that_is_known(app: ASGIApp) -> None:
    async with serving(app) as one, serving(app) as two:
        assert one.port != two.port
        async with httpx.AsyncClient(timeout=PATIENCE) as caller:
            for server in (one, two):
                assert (await caller.get(f"{server.url}/health/live")).status_code == 200


async def test_a_taken_port_is_a_clear_error(app: ASGIApp, server: HttpServer) -> None:
    with pytest.raises(PortTaken, match=f"port {server.port} .*TENANTS_HTTP_PORT"):
        await HttpServer(app, host="127.0.0.1", port=server.port).start()
    async with httpx.AsyncClient(timeout=PATIENCE) as caller:
        assert (await caller.get(f"{server.url}/health/live")).status_code == 200


async def test_a_stopped_server_leaves_its_port(app: ASGIApp) -> None:
    async with serving(app) as server:
        port = server.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    async with serving(app, port=port) as again:
        assert again.port == port


async def test_a_server_that_never_started_stops(app: ASGIApp) -> None:
    await HttpServer(app, host="127.0.0.1", port=0).stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::1"])
async def test_the_url_can_be_called_whatever_the_address(app: ASGIApp, host: str) -> None:
    try:
        async with serving(app, host=host) as server, httpx.AsyncClient(timeout=PATIENCE) as caller:
            assert (await caller.get(f"{server.url}/health/live")).status_code == 200
    except OSError as error:
        pytest.skip(f"no {host} here: {error}")


async def test_a_head_request_has_no_body_on_the_wire(server: HttpServer, headers: dict[str, str]) -> None:
    request = f"HEAD {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{_lines(headers)}\r\n".encode()
    head, _, body = (await said(server, request)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b'etag: "7"' in head
    assert b"content-length: 26" in head
    assert body == b""


async def test_a_304_has_no_body_on_the_wire(server: HttpServer, headers: dict[str, str]) -> None:
    lines = _lines({**headers, "If-None-Match": '"7"'})
    head, _, body = (
        await said(server, f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode())
    ).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 304")
    assert body == b""


async def test_the_server_does_not_say_what_it_is_made_of(server: HttpServer) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as caller:
        answer = await caller.get(f"{server.url}/health/live")
    assert answer.headers.get_list("server") == ["tenants"]


async def test_who_sends_no_head_is_cut_off(app: ASGIApp) -> None:
    async with serving(app, head_seconds=0.1) as server:
        assert await said(server, b"GET /health HTTP/1.1\r\nHo") == b""
        assert await said(server, b"") == b""


async def test_who_sends_a_body_too_slowly_is_refused(
    backend: Backend, signer: Signer, headers: dict[str, str]
) -> None:
    doors = Doors(backend.execute, backend.answer, uuid4, backend.fetch, Limits(arrival=0.2))
    lines = _lines({**headers, "Content-Type": "application/json", "Content-Length": "100"})
    request = f"POST {PATH}/resume HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n{{".encode()
    async with serving(edge(doors, signer)) as server:
        answer = await said(server, request)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/request-timeout" in answer


async def test_a_body_that_is_broken_off_is_a_bad_request(
    server: HttpServer, headers: dict[str, str]
) -> None:
    lines = _lines({**headers, "Transfer-Encoding": "chunked"})
    request = f"POST {PATH}/resume HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\nZZ\r\n".encode()
    answer = await said(server, request)
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("announcement", "sent"),
    [
        ({"Content-Length": str(10**12)}, b""),
        ({"Transfer-Encoding": "chunked"}, b"40001\r\n" + b" " * 0x40001),
    ],
)
async def test_a_huge_body_is_refused_before_it_is_all_there(
    server: HttpServer, headers: dict[str, str], announcement: dict[str, str], sent: bytes
) -> None:
    lines = _lines({**headers, **announcement, "Content-Type": "application/json"})
    request = f"POST {PATH}/resume HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode()
    assert (await said(server, request + sent)).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /%ff%fe HTTP/1.1",
        b"GET /a%00b HTTP/1.1",
        b"GET /% HTTP/1.1",
        b"GET //..//health HTTP/1.1",
        b"GET /api/v1/tenants?%ff=%00 HTTP/1.1",
        b"GET http://evil.example/x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"BREW /coffee HTTP/1.1",
        b"GET / HTTP/9.9",
        b"\x00\x01\x02",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1",
    ],
)
async def test_a_strange_request_line_is_the_callers_mistake(
    server: HttpServer, headers: dict[str, str], request_line: bytes
) -> None:
    lines = f"\r\nHost: x\r\nConnection: close\r\n{_lines(headers)}\r\n".encode()
    answer = await said(server, request_line + lines)
    assert answer.startswith(b"HTTP/1.1 4")


async def test_idle_connections_do_not_keep_others_out(app: ASGIApp) -> None:
    async with serving(app, connections=4, head_seconds=0.2) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(8)]
        async with httpx.AsyncClient(timeout=PATIENCE) as caller:
            assert (await caller.get(f"{server.url}/health/live")).status_code == 200
        for _, writer in idle:
            writer.close()


async def test_a_request_at_work_is_answered_before_the_end(
    app: ASGIApp, backend: Backend, headers: dict[str, str]
) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as caller:
        server = HttpServer(app, host="127.0.0.1", port=0, grace=60)
        await server.start()
        asking = asyncio.create_task(caller.post(f"{server.url}{PATH}/resume", headers=headers))
        await backend.entered.wait()
        stopping = asyncio.create_task(server.stop())
        while _accepts(server.port):  # noqa: ASYNC110 - a closed port tells nobody
            await asyncio.sleep(0.01)
        backend.released.set()
        assert (await asking).status_code == 200
        await stopping


@pytest.mark.parametrize(
    "half", [b"GET / HTTP/1.1\r\nHo", b"", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_a_caller_who_hangs_does_not_stop_the_end(app: ASGIApp, half: bytes) -> None:
    async with serving(app) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(half)
        await writer.drain()
        async with within("the end of the server"):
            await server.stop()
        writer.close()


async def test_a_command_that_hangs_does_not_stop_the_end(
    app: ASGIApp, backend: Backend, headers: dict[str, str]
) -> None:
    async with serving(app) as server, httpx.AsyncClient(timeout=PATIENCE) as caller:
        asking = asyncio.create_task(caller.post(f"{server.url}{PATH}/resume", headers=headers))
        await backend.entered.wait()
        async with within("the end of the server"):
            await server.stop()
        backend.released.set()
        with contextlib.suppress(httpx.HTTPError):
            await asking


def _lines(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False
