"""The parts of a tenant's export, sent as they are read.

A part counts as fetched once its last byte was sent, so what sends it has to know which byte that is, and
whether the caller was still there. The framework's own stream does not: it drops what is left to do as soon
as the server has all bytes that were announced.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from handlers.adapters.exports.shelf import Part
from handlers.http_edge.access import StatusOf, check_query
from handlers.http_edge.gate import ONLY_HEAD
from handlers.http_edge.routes import EXPORT_PART
from handlers.http_edge.tokens import Caller
from handlers.wire.subjects import is_tenant_id
from projections.forms import invalid
from projections.termination import EXPORT

Fetch: TypeAlias = Callable[[UUID, str], Awaitable[tuple[Part, AsyncGenerator[bytes]]]]
"""Gives a part of a tenant's export, by its path in the manifest. Raises NotFound."""


def handler(fetch: Fetch, status: Callable[[str], StatusOf]) -> HTTPRouteHandler:
    """Return the handler of the route of parts; `status` gives what looks up the status of a tenant."""

    async def part(request: Request[Caller, Any, Any]) -> ASGIApp:
        tenant, path = request.path_params["tenant_id"], str(request.path_params["part"]).lstrip("/")
        await check_query(request.user, tenant, EXPORT.name, status(tenant))
        found, chunks = await fetch(_tenant_id(tenant), path)
        media_type = "application/json" if path.endswith(".json") else "application/octet-stream"
        headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % found.size),
            (b"etag", b'"%s"' % found.sha256.encode()),
            (b"cache-control", b"private, no-store"),
        ]

        async def answer(_: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if not request.scope["state"].get(ONLY_HEAD):
                await _send_all(chunks, receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        return answer

    return HTTPRouteHandler(EXPORT_PART, http_method=["GET"])(part)


async def _send_all(chunks: AsyncGenerator[bytes], receive: Receive, send: Send) -> None:
    """Send chunks while the caller is there; the chunks come to their end only when all of them were sent."""
    leaving = asyncio.ensure_future(_left(receive))
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                if leaving.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        leaving.cancel()


async def _left(receive: Receive) -> None:
    """Return when the caller has gone, or has all that was announced."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _tenant_id(text: str) -> UUID:
    if not is_tenant_id(text):
        raise invalid("tenant_id", "must be a lower-case hyphenated UUID")
    return UUID(text)
