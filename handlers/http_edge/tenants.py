"""Commands and queries over HTTP: the same requests as over NATS, so their problems are the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid5

import msgspec
from litestar import MediaType, Request, Response
from litestar.handlers import HTTPRouteHandler

from handlers.execution.decode import Request as Asked
from handlers.execution.decode import decoded
from handlers.execution.executor import Reply
from handlers.http_edge import bodies, problems
from handlers.http_edge.access import check_command, check_read
from handlers.http_edge.routes import API, FLEET_QUERIES, ROUTES, Route, location
from handlers.http_edge.tokens import Caller
from handlers.wire import headers
from handlers.wire.subjects import FLEET
from tenant_domain.refusals import InvalidCommand
from tenant_domain.registry import COMMANDS

_KEYS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8b01")
_TENANTS = UUID("5b0f5a7c-54a8-5f5c-9d33-0d3c6f2a8b02")

LONGEST_KEY = 255
NO_VERSION = -1
"""Stands for an entity tag that no version of a tenant has."""

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_VERSION_TAG = re.compile(r'"(0|[1-9][0-9]{0,17})"')

HttpRequest = Request[Caller, Any, Any]


class Execute(Protocol):
    """The command path: returns the outcome, or raises a Refusal."""

    def __call__(self, request: Asked, /) -> Awaitable[Reply]: ...


class Answer(Protocol):
    """The queries: (tenant or `fleet`, query, fields as JSON) → the answer as JSON, or raises a Refusal."""

    def __call__(self, tenant: str, query: str, fields: bytes, /) -> Awaitable[bytes]: ...


class Limits(NamedTuple):
    """What one request may take. Sizes in bytes, times in seconds."""

    body: int = 256 * 1024
    """As for a command over NATS."""
    arrival: float = 10.0
    """A body of 256 KiB takes this long at 200 kbit/s; who is slower holds a place for others."""
    answer: float = 30.0
    """Beyond what a command waits for a database that is down; then the caller asks again."""


class Doors(NamedTuple):
    """What stands behind the routes of tenants."""

    execute: Execute
    answer: Answer
    forms: Mapping[str, bodies.Schema]
    """JSON Schema of each query's fields; those over all tenants are called `fleet.…`."""
    new_id: Callable[[], UUID]
    limits: Limits


class _Versioned(msgspec.Struct):
    version: int | None = None


class _Rejected(msgspec.Struct):
    error: dict[str, Any]


_version_in = msgspec.json.Decoder(_Versioned).decode
_refusal_in = msgspec.json.Decoder(_Rejected).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def handlers(doors: Doors) -> list[HTTPRouteHandler]:
    """Return the handlers of all routes of tenants."""

    async def provision(request: HttpRequest) -> Response[bytes]:
        body = await _body(request, doors)
        tenant, body = _new_tenant(request, body, doors)
        return await _command(request, doors, tenant, "provision", body)

    async def fleet(request: HttpRequest) -> Response[bytes]:
        given = bodies.parameters(request.scope["query_string"])
        names = [FLEET_QUERIES[name] for name, _ in given if name in FLEET_QUERIES]
        return await _query(request, doors, FLEET, names[0] if names else "tenants", given)

    made = [_handler(route, doors) for route in ROUTES]
    return [
        HTTPRouteHandler(API, http_method=["POST"])(provision),
        HTTPRouteHandler(API, http_method=["GET"])(fleet),
        *made,
    ]


def _handler(route: Route, doors: Doors) -> HTTPRouteHandler:
    async def command(request: HttpRequest) -> Response[bytes]:
        path = request.path_params
        name = route.name or path["command"]
        body = await _body(request, doors)
        if request.method == "DELETE":
            body = _or_parameters(request, name, body)
        return await _command(request, doors, path["tenant_id"], name, body)

    async def query(request: HttpRequest) -> Response[bytes]:
        path = dict(request.path_params)
        tenant = path.pop("tenant_id")
        name = route.name or path.pop("query")
        given = [*path.items(), *bodies.parameters(request.scope["query_string"])]
        return await _query(request, doors, tenant, name, given)

    if route.kind == "command":
        return HTTPRouteHandler(route.path, http_method=[route.method])(command)
    return HTTPRouteHandler(route.path, http_method=["GET"])(query)


async def _body(request: HttpRequest, doors: Doors) -> bytes:
    body = await bodies.read(request.receive, doors.limits.body, doors.limits.arrival)
    if body:
        bodies.check_media_type(request)
    return body


def _or_parameters(request: HttpRequest, command: str, body: bytes) -> bytes:
    """Return the body, or in its place the query parameters: some clients send none with DELETE."""
    given = bodies.parameters(request.scope["query_string"])
    if not given:
        return body
    if body:
        raise InvalidCommand.of(given[0][0], "give the fields as body or as query parameters, not both")
    spec = COMMANDS.get(command)
    return _encode(bodies.fields(given, spec.form.model_json_schema() if spec else {}))


def _new_tenant(request: HttpRequest, body: bytes, doors: Doors) -> tuple[str, bytes]:
    """Return the id of the tenant to be made, from the body or made up, and the body without it."""
    try:
        fields = msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError:
        fields = None  # refused where all broken JSON is
    if isinstance(fields, dict) and "tenant_id" in fields:
        given = fields.pop("tenant_id")
        if not isinstance(given, str):
            raise InvalidCommand.of("tenant_id", "must be a UUID")
        return given, _encode(fields)
    key = _idempotency_key(request)
    return str(doors.new_id() if key is None else uuid5(_TENANTS, _of_caller(request.user, key))), body


async def _command(
    request: HttpRequest, doors: Doors, tenant: str, name: str, body: bytes
) -> Response[bytes]:
    check_command(request.user, tenant, name)
    key = _idempotency_key(request)
    said = {headers.ACTOR: request.user.subject}
    if key is not None:
        said[headers.COMMAND_ID] = str(uuid5(_KEYS, _of_caller(request.user, key)))
    for header in (headers.CORRELATION_ID, headers.CAUSATION_ID, headers.TRACEPARENT):
        if (value := request.headers.get(header)) is not None:
            said[header] = value
    asked = decoded(tenant, name, said, body, durable=False, new_id=doors.new_id)
    if (expected := request.headers.get("if-match")) is not None:
        asked = asked._replace(expected_version=_expected(expected))
    return _outcome(asked, await _in_time(doors.execute(asked), doors))


def _outcome(asked: Asked, reply: Reply) -> Response[bytes]:
    if reply.problem is not None:
        response = problems.rendered(_refusal_in(reply.body).error).response()
    elif reply.operation_id is not None:
        response = Response(reply.body, status_code=202, media_type=MediaType.JSON)
        response.headers["Location"] = location(str(asked.tenant_id), str(reply.operation_id))
    else:
        response = Response(reply.body, status_code=200, media_type=MediaType.JSON)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers[headers.COMMAND_ID] = str(asked.command_id)
    return response


async def _query(
    request: HttpRequest, doors: Doors, tenant: str, query: str, given: list[tuple[str, str]]
) -> Response[bytes]:
    check_read(request.user, tenant)
    schema = doors.forms.get(f"{FLEET}.{query}" if tenant == FLEET else query, {})
    fields = _encode(bodies.fields(given, schema)) if given else b""
    answer = await _in_time(doors.answer(tenant, query, fields), doors)
    version = _version_in(answer).version
    response = Response(answer, media_type=MediaType.JSON, headers={"Cache-Control": "private, no-cache"})
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
        if _matches(request.headers.get("if-none-match"), version):
            response.content, response.status_code = b"", 304
    return response


async def _in_time(work: Awaitable[Any], doors: Doors) -> Any:
    try:
        async with asyncio.timeout(doors.limits.answer):
            return await work
    except TimeoutError:
        raise problems.NoAnswer(
            f"no answer within {doors.limits.answer:g} seconds; send a command again with its Idempotency-Key"
        ) from None


def _idempotency_key(request: HttpRequest) -> str | None:
    keys = request.headers.getall("idempotency-key", [])
    if len(set(keys)) > 1 or (keys and not 1 <= len(keys[0]) <= LONGEST_KEY):
        raise InvalidCommand.of("Idempotency-Key", f"must be one text of 1 to {LONGEST_KEY} characters")
    return keys[0] if keys else None


def _of_caller(caller: Caller, key: str) -> str:
    """Return `key` so that no other caller's key can be equal to it."""
    return _encode([caller.tenant, caller.subject, key]).decode()


def _expected(header: str) -> int | None:
    """Return the version that `If-Match` demands; None for `*`, NO_VERSION for a tag that none has."""
    if header == "*":
        return None
    if exact := _VERSION_TAG.fullmatch(header):
        return int(exact[1])
    if _TAG.fullmatch(header):
        return NO_VERSION
    raise InvalidCommand.of("If-Match", 'must be one entity tag such as "7", or *')


def _matches(header: str | None, version: int) -> bool:
    """Return whether `If-None-Match` names this version (RFC 9110: a weak comparison)."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or f'"{version}"' in tags
