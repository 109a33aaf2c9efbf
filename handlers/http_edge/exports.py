"""The parts of a tenant's export, sent as they are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeAlias
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from handlers.adapters.exports.shelf import Part
from handlers.http_edge.access import check_export
from handlers.http_edge.routes import EXPORT_PART
from handlers.http_edge.tokens import Caller
from projections.forms import invalid

Fetch: TypeAlias = Callable[[UUID, str], Awaitable[tuple[Part, AsyncGenerator[bytes]]]]
"""Gives a part of a tenant's export, by its path in the manifest. Raises NotFound."""


def handler(fetch: Fetch) -> HTTPRouteHandler:
    """Return the handler of the route of parts."""

    async def part(request: Request[Caller, Any, Any]) -> Stream:
        tenant, path = request.path_params["tenant_id"], str(request.path_params["part"]).lstrip("/")
        check_export(request.user, tenant)
        found, chunks = await fetch(_tenant_id(tenant), path)
        media_type = "application/json" if path.endswith(".json") else "application/octet-stream"
        headers = {
            "Content-Length": str(found.size),
            "ETag": f'"{found.sha256}"',
            "Cache-Control": "private, no-store",
        }
        return Stream(chunks, media_type=media_type, headers=headers)

    return HTTPRouteHandler(EXPORT_PART, http_method=["GET"])(part)


def _tenant_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise invalid("tenant_id", "must be a lower-case UUID with hyphens") from None
