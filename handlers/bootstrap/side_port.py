"""The port for orchestration of a process that need not have the HTTP edge: metrics, and its health.

A thread serves it, so that it answers also where the process's event loop does not turn any more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    REGISTRY,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType] - it says Callable alone
)

from handlers.http_edge.health import Health, Report

LIMIT = 2.0
"""Seconds for an answer of the event loop: one that takes longer does not turn."""

_STARTING = Report({}, {"process": "it is starting"})
_STUCK = Report({}, {"process": "its event loop does not turn"})

_Reply = Callable[[str, list[tuple[str, str]]], object]
_App = Callable[[dict[str, Any], _Reply], Iterable[bytes]]


class SidePort:
    """Serves `/health/ready`, `/health/live` and, at any other path, metrics; `close` ends it.

    Until `health` is set the process is starting. Raises OSError where the port is taken.
    """

    def __init__(self, host: str, port: int) -> None:
        self.health: Health | None = None
        self._loop = asyncio.get_running_loop()
        self._metrics = cast("_App", make_wsgi_app(REGISTRY))  # pyright: ignore[reportUnknownArgumentType]
        self._server = make_server(host, port, self._answer, _Server, handler_class=_Quiet)
        self._thread = Thread(target=self._server.serve_forever, name="side port", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], reply: _Reply) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/health/ready" | "/health":
                report = _STARTING if self.health is None else self._from_loop(self.health.report())
            case "/health/live":
                report = self._from_loop(_alive())
            case _:
                return self._metrics(environ, reply)
        reply("200 OK" if report.well else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps(report.body()).encode()]

    def _from_loop(self, work: Coroutine[Any, Any, Report]) -> Report:
        asked: Future[Report] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return asked.result(LIMIT)
        except TimeoutError:
            asked.cancel()
            return _STUCK


async def _alive() -> Report:
    return Report({}, {})


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: probes come all the time."""
