"""The gate before all routes: who asks, what browsers may do, what every response carries, how long it took.

It stands outside the framework, so it also holds for paths that no route has: without a token nothing but
the open routes answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import structlog
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Histogram

from handlers.http_edge import problems
from handlers.http_edge.problems import NoSuchRoute
from handlers.http_edge.routes import hides_a_slash, is_open
from handlers.http_edge.tokens import Caller
from handlers.wire import headers as wire
from handlers.wire.outcomes import problem
from tenant_domain.refusals import Refusal, Unauthenticated

_log = structlog.get_logger()

ONLY_HEAD = "only_head"
"""In a scope's state: the answer's body is not sent, so a handler may leave it out."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_SENT_BY_BROWSERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Correlation-Id, traceparent"
)
_READ_BY_BROWSERS = "ETag, Location, Retry-After, WWW-Authenticate, Command-Id, Correlation-Id"

_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"server", b"tenants"),
)


_HIDDEN_SLASH = "a path has its slashes as they are, not percent-encoded"


class Gate:
    """An ASGI app before another one.

    `caller_of` reads a bearer token, and raises Unauthenticated. `origins` are those that browsers may call
    from; `*` is any. Times go to `registry` as `tenants_http_request_seconds`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        caller_of: Callable[[str], Caller],
        origins: Collection[str],
        registry: CollectorRegistry,
    ) -> None:
        self._app = app
        self._caller_of = caller_of
        self._origins = frozenset(origins)
        self._seconds = Histogram(
            "tenants_http_request_seconds",
            "Time from a request's head to its answer's end",
            ("method", "route", "status"),
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, send, self._allowed_origin(scope))
        try:
            await self._answer(scope, receive, exchange)
        finally:
            route = str(scope.get("path_template", "none"))
            method = exchange.method if exchange.method in METHODS else "OTHER"
            seconds = time.perf_counter() - exchange.began
            self._seconds.labels(method, route, str(exchange.status)).observe(seconds)
            _log.debug("http answered", method=method, route=route, status=exchange.status, seconds=seconds)

    async def _answer(self, scope: HTTPScope, receive: Receive, exchange: _Exchange) -> None:
        if exchange.origin and _header(scope, b"access-control-request-method"):
            return await exchange.preflight()
        if hides_a_slash(scope["raw_path"]):
            return await exchange.refuse(NoSuchRoute(_HIDDEN_SLASH), invalid_token=False)
        if not is_open(scope["path"]):
            given = _header(scope, b"authorization")
            try:
                scope["user"] = self._caller(given)
            except Unauthenticated as refusal:
                return await exchange.refuse(refusal, invalid_token=given is not None)
        if scope["method"] == "HEAD":
            scope["method"] = "GET"
            scope.setdefault("state", {})[ONLY_HEAD] = True
        await self._app(scope, receive, exchange)
        return None

    def _caller(self, authorization: str | None) -> Caller:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("send `Authorization: Bearer <token>`")
        return self._caller_of(token.strip())

    def _allowed_origin(self, scope: Scope) -> str | None:
        origin = _header(scope, b"origin")
        return origin if origin and self._origins & {origin, "*"} else None


class _Exchange:
    """What goes out for one request: counts as the `send` of the app behind the gate."""

    def __init__(self, scope: HTTPScope, send: Send, origin: str | None) -> None:
        self.method = str(scope["method"])
        self.origin = origin
        self.status = 0
        self.began = time.perf_counter()
        self._send = send
        self._head = self.method == "HEAD"
        self._correlation = _header(scope, wire.CORRELATION_ID.lower().encode())

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._added()]
        elif message["type"] == "http.response.body" and self._head:
            message["body"] = b""
        await self._send(message)

    async def refuse(self, refusal: Refusal, *, invalid_token: bool) -> None:
        """Answer with a problem document."""
        status, headers, body = problems.rendered(problem(refusal))
        if invalid_token:
            headers["WWW-Authenticate"] = f'{problems.CHALLENGE}, error="invalid_token"'
        await self._respond(status, headers, body)

    async def preflight(self) -> None:
        """Tell a browser what a page of an allowed origin may send."""
        allowed = {
            "Access-Control-Allow-Methods": ", ".join(METHODS),
            "Access-Control-Allow-Headers": _SENT_BY_BROWSERS,
            "Access-Control-Max-Age": "600",
        }
        await self._respond(204, allowed, b"")

    async def _respond(self, status: int, headers: dict[str, str], body: bytes) -> None:
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if status != 204:
            pairs.append((b"content-length", b"%d" % len(body)))
        await self({"type": "http.response.start", "status": status, "headers": pairs})
        await self({"type": "http.response.body", "body": body, "more_body": False})

    def _added(self) -> list[tuple[bytes, bytes]]:
        added = [*_ALWAYS, (b"vary", b"Origin, Authorization")]
        if self.origin:
            added.append((b"access-control-allow-origin", self.origin.encode("latin-1")))
            added.append((b"access-control-expose-headers", _READ_BY_BROWSERS.encode()))
        if self._correlation:
            added.append((wire.CORRELATION_ID.lower().encode(), self._correlation.encode("latin-1")))
        return added


def _header(scope: Scope, name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else None
