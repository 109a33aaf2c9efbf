"""The HTTP server: granian, embedded in this process and its event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import structlog
from granian import net
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar.types import ASGIApp

from handlers.adapters.tasks import end, watched

_log = structlog.get_logger()

CONNECTIONS = 2048
"""Most connections at once: each costs a file descriptor, also an idle one."""

HEAD_SECONDS = 10.0
"""Time for a request's head, and that a connection may idle; longer than common clients keep one. So long can
as many callers as there are connections, who send nothing, keep others out."""

GRACE_SECONDS = 5.0
"""Time for requests at work to end at a stop; a caller who gets no answer asks again with its key."""

_BACKLOG = 1024


_holder: Any = net.SocketHolder  # pyright: ignore[reportPrivateImportUsage]


class PortTaken(Exception):
    """Another program listens where the edge should."""


class HttpServer:
    """Serves an ASGI app from `start` to `stop`. Port 0 picks a free one; `port` says which."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        connections: int = CONNECTIONS,
        head_seconds: float = HEAD_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._connections = connections
        self._head_seconds = head_seconds
        self._grace = grace
        self._server: _Bound | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Where the server is reached on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - read, not bound
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises PortTaken when another program does so already."""
        listener = _listener(self._host, self._port)
        self._port = listener.getsockname()[1]
        self._server = _Bound(
            listener,
            self._app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backpressure=self._connections,
            http1_settings=HTTP1Settings(header_read_timeout=int(self._head_seconds * 1000)),
            log_enabled=False,
            # leave this process's logging as it is
            log_dictconfig={"incremental": True, "handlers": {}, "formatters": {}, "loggers": {}},
        )
        self._task = watched(self._server.serve(), "http server")
        _log.info("http listens", host=self._host, port=self._port)

    async def stop(self) -> None:
        """Take no new request, let those at work end, and close."""
        if self._server is None or self._task is None:
            return
        self._server.stop()
        ended, _ = await asyncio.wait((self._task,), timeout=self._grace)
        if not ended:
            _log.warning("http requests left unanswered", waited=self._grace)
        await end(self._task)
        self._server = self._task = None
        await asyncio.sleep(0.05)  # the server's own thread ends; it must not meet the interpreter's end


class _Bound(Server):
    """A server on a socket that is bound already: granian's own would share a taken port with its owner."""

    def __init__(self, listener: socket.socket, app: ASGIApp, **options: Any) -> None:
        super().__init__(app, **options)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._shd = _holder(self._listener.detach(), False, _BACKLOG)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} on {host} is taken: stop what listens there, or set TENANTS_HTTP_PORT"
            ) from None
        raise
    return listener
