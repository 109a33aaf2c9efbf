"""The whole HTTP edge as one ASGI app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry

from handlers.http_edge import problems, tenants
from handlers.http_edge.exposition import exposition
from handlers.http_edge.gate import Gate
from handlers.http_edge.health import Health
from handlers.http_edge.openapi import openapi
from handlers.http_edge.tokens import Signer
from tenant_domain.refusals import Refusal

AnyRequest = Request[Any, Any, Any]


def http_app(
    doors: tenants.Doors,
    *,
    signer: Signer,
    health: Health,
    asyncapi: bytes,
    registry: CollectorRegistry,
    others: Mapping[str, str] = MappingProxyType({}),
    origins: Collection[str] = (),
    more_keys: Sequence[Mapping[str, Any]] = (),
) -> ASGIApp:
    """Return the app.

    `asyncapi` is the bus's document; `origins` are those that browsers may call from; `more_keys` are public
    keys (JSON Web Keys) that are published beside the one of tokens.
    """
    keys = msgspec.json.encode({"keys": [*signer.jwks()["keys"], *more_keys]})
    routes = [*tenants.handlers(doors), *_open(keys, health, asyncapi, partial(exposition, registry, others))]
    app = Litestar(
        [*_options(routes), *routes],  # before them: to the first route of a path the framework adds its own
        exception_handlers={Refusal: problems.of_refusal, Exception: problems.of_framework},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=doors.limits.body,
        debug=False,
    )
    return Gate(app, caller_of=signer.caller, origins=origins, registry=registry)


def _open(
    keys: bytes, health: Health, asyncapi: bytes, exposed: Callable[[], Awaitable[bytes]]
) -> list[HTTPRouteHandler]:
    document = msgspec.json.encode(openapi())

    @get("/health/live")
    async def live() -> Response[bytes]:
        return _json(b'{"status":"ok"}')

    @get(["/health", "/health/ready"])
    async def ready() -> Response[bytes]:
        report = await health.report()
        return _json(msgspec.json.encode(report.body()), 200 if report.well else 503)

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        return Response(await exposed(), media_type=CONTENT_TYPE_LATEST.partition("; charset")[0])

    @get("/openapi.json")
    async def openapi_document() -> Response[bytes]:
        return _json(document)

    @get("/asyncapi.json")
    async def asyncapi_document() -> Response[bytes]:
        return _json(asyncapi)

    @get("/.well-known/jwks.json")
    async def jwks() -> Response[bytes]:
        return _json(keys)

    @get("/problems/{name:str}")
    async def problem_page(request: AnyRequest) -> Response[bytes]:
        return problems.page(request, request.path_params["name"])

    return [live, ready, metrics, openapi_document, asyncapi_document, jwks, problem_page]


def _options(routes: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return handlers that tell all methods of each path; the framework's own tell those of one route."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        for path in route.paths:
            methods.setdefault(path, {"OPTIONS"}).update(route.http_methods)
    return [
        _allowing(path, found | ({"HEAD"} if "GET" in found else set())) for path, found in methods.items()
    ]


def _allowing(path: str, methods: set[str]) -> HTTPRouteHandler:
    async def allowed() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": ", ".join(sorted(methods))})

    return HTTPRouteHandler(path, http_method=["OPTIONS"], status_code=204)(allowed)


def _json(body: bytes, status: int = 200) -> Response[bytes]:
    return Response(body, status_code=status, media_type=MediaType.JSON)
