"""Commands and queries over HTTP: the same requests as over NATS, so their problems are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from litestar import MediaType, Request, Response
from litestar.handlers import HTTPRouteHandler

from handlers.execution.body import MAX_BODY, canonical
from handlers.execution.bulk import Bulk
from handlers.execution.decode import Request as Asked
from handlers.execution.decode import decoded
from handlers.execution.reply import Reply, problem_of
from handlers.execution.versions import InsteadOf
from handlers.http_edge import bodies, exports, preconditions, problems
from handlers.http_edge.access import check_command, check_fields, check_provision, check_query
from handlers.http_edge.exports import Fetch
from handlers.http_edge.routes import API, FLEET_QUERIES, ROUTES, Route, location
from handlers.http_edge.tokens import Caller
from handlers.queries.spans import asking
from handlers.wire import headers
from handlers.wire.subjects import FLEET
from projections.registry import QUESTIONS
from tenant_domain.refusals import InvalidCommand, Refusal, VersionConflict
from tenant_domain.registry import COMMANDS
from tenant_domain.values import Status

HttpRequest = Request[Caller, Any, Any]
T = TypeVar("T")


class Limits(NamedTuple):
    """What one request may take. Sizes in bytes, times in seconds."""

    body: int = MAX_BODY
    """As for a command over NATS."""
    arrival: float = 10.0
    """A body of 256 KiB takes this long at 200 kbit/s; who is slower holds a place for others."""
    answer: float = 35.0
    """Beyond what a query may wait for its position, and a command for a database that is down."""


async def _itself(_command: str, refusal: Refusal) -> Refusal:
    return refusal


class Doors(NamedTuple):
    """What stands behind the routes of tenants.

    `execute` is the command path: it returns the outcome of a request. `answer` takes a tenant or `fleet`, a
    query, its fields as JSON, and returns JSON. Both may raise a Refusal. `new_id` makes ids of tenants and
    commands that come without one. `fetch` gives a part of a tenant's export by its path. `instead_of` makes
    of the refusal of a command that does not fit its form here what is answered.
    """

    execute: Callable[[Asked], Awaitable[Reply]]
    answer: Callable[[str, str, bytes], Awaitable[bytes]]
    new_id: Callable[[], UUID]
    fetch: Fetch
    limits: Limits = Limits()
    instead_of: InsteadOf = _itself


class _Versioned(msgspec.Struct):
    version: int | None = None


class _Standing(msgspec.Struct):
    status: Status


_status_in = msgspec.json.Decoder(_Standing).decode
_version_in = msgspec.json.Decoder(_Versioned).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


_QUERY_KINDS = {key: bodies.kinds_of(question.form) for key, question in QUESTIONS.items()}


def handlers(doors: Doors) -> list[HTTPRouteHandler]:
    """Return the handlers of all routes of tenants."""

    async def provision(request: HttpRequest) -> Response[bytes]:
        check_provision(request.user)
        body = await _body(request, doors)
        _no_parameters(request)
        tenant, body = _new_tenant(request, body, doors)
        return await _command(request, doors, tenant, "provision", body)

    async def fleet(request: HttpRequest) -> Response[bytes]:
        given = bodies.parameters(request.scope["query_string"])
        names = [FLEET_QUERIES[name] for name, _ in given if name in FLEET_QUERIES]
        return await _query(request, doors, FLEET, names[0] if names else "tenants", given)

    return [
        HTTPRouteHandler(API, http_method=["POST"], status_code=200)(provision),
        HTTPRouteHandler(API, http_method=["GET"])(fleet),
        exports.handler(doors.fetch, lambda tenant: lambda: _status(tenant, doors)),
        *(_handler(route, doors) for route in ROUTES),
    ]


def _handler(route: Route, doors: Doors) -> HTTPRouteHandler:
    async def command(request: HttpRequest) -> Response[bytes]:
        path = request.path_params
        name = route.name or path["command_name"]
        await check_command(request.user, path["tenant_id"], name, lambda: _status(path["tenant_id"], doors))
        body = await _body(request, doors)
        if path["tenant_id"] == FLEET:
            _no_parameters(request)
            return await _control(request, doors, name, body)
        if request.method == "DELETE":
            body = _or_parameters(request, name, body)
        else:
            _no_parameters(request)
        return await _command(request, doors, path["tenant_id"], name, body)

    async def query(request: HttpRequest) -> Response[bytes]:
        path = dict(request.path_params)
        tenant = path.pop("tenant_id")
        name = route.name or path.pop("query_name")
        given = [*path.items(), *bodies.parameters(request.scope["query_string"])]
        return await _query(request, doors, tenant, name, given)

    return HTTPRouteHandler(route.path, http_method=[route.method], status_code=200)(
        command if route.kind == "command" else query
    )


async def _body(request: HttpRequest, doors: Doors) -> bytes:
    announced = request.headers.get("content-length")
    body = await bodies.read(request.receive, announced, doors.limits.body, doors.limits.arrival)
    if body:
        bodies.check_media_type(request)
    return body


def _or_parameters(request: HttpRequest, command: str, body: bytes) -> bytes:
    """Return the body, or in its place the query parameters: some clients send none with DELETE."""
    given = bodies.parameters(request.scope["query_string"])
    if not given:
        return body
    if body:
        raise InvalidCommand.of(given[0][0][:100], "give fields as body or as query parameters, not both")
    spec = COMMANDS.get(command)
    return _encode(bodies.fields(given, bodies.kinds_of(spec.form) if spec else {}))


def _no_parameters(request: HttpRequest) -> None:
    """Refuse fields beside the body: to pass them over would be to do something else than was asked."""
    if given := bodies.parameters(request.scope["query_string"]):
        raise InvalidCommand.of(given[0][0][:100], "give a command's fields in its body")


def _new_tenant(request: HttpRequest, body: bytes, doors: Doors) -> tuple[str, bytes]:
    """Return the id of the tenant to be made, from the body or made up, and the body without it."""
    fields = msgspec.json.decode(canonical(body), type=dict[str, Any])
    if "tenant_id" in fields:
        given = fields.pop("tenant_id")
        if not isinstance(given, str):
            raise InvalidCommand.of("tenant_id", "must be a lower-case hyphenated UUID")
        return given, _encode(fields)
    key = preconditions.idempotency_key(request.headers)
    made = doors.new_id() if key is None else preconditions.tenant_id(request.user, key)
    return str(made), body


async def _control(request: HttpRequest, doors: Doors, name: str, body: bytes) -> Response[bytes]:
    """Have the same done with many operations."""
    bulk = Bulk(
        lambda tenant, fields: doors.answer(tenant, "operations", fields), doors.execute, doors.new_id
    )
    for condition in ("If-Match", "If-None-Match"):
        if condition in request.headers:
            raise InvalidCommand.of(condition, "has no meaning for many operations")
    said = _said(request)
    said.setdefault(headers.COMMAND_ID, str(doors.new_id()))
    reply = await _in_time(bulk.control(name, said, body), doors)
    told = {"Cache-Control": "no-store", headers.COMMAND_ID: said[headers.COMMAND_ID]}
    return Response(reply.body, media_type=MediaType.JSON, headers=told)


async def _command(
    request: HttpRequest, doors: Doors, tenant: str, name: str, body: bytes
) -> Response[bytes]:
    said = _said(request)
    expected = preconditions.expected_versions(request.headers)
    others = preconditions.other_versions(request.headers)
    key = preconditions.idempotency_key(request.headers)
    # A key stands for one tenant, whatever id the body gives it.
    claim = preconditions.tenant_id(request.user, key) if key is not None and name == "provision" else None
    try:
        asked = decoded(tenant, name, said, body, durable=False, new_id=doors.new_id)
    except Refusal as refusal:
        raise await doors.instead_of(name, refusal) from None
    check_fields(request.user, name, asked.form)
    asked = msgspec.structs.replace(
        asked,
        expected_versions=expected,
        other_versions=others,
        authority=request.user.authority,
        claim=claim,
    )
    return _outcome(asked, await _in_time(doors.execute(asked), doors))


def _said(request: HttpRequest) -> dict[str, str]:
    """Return the headers of a command over NATS that stand for those of the request."""
    key = preconditions.idempotency_key(request.headers)
    said = {headers.ACTOR: request.user.subject}
    if key is not None:
        said[headers.COMMAND_ID] = str(preconditions.command_id(request.user, key))
    for header in (headers.CORRELATION_ID, headers.CAUSATION_ID):
        if (value := preconditions.once(request.headers, header)) is not None:
            said[header] = value.encode("latin-1").decode(errors="replace")
    if (
        len(traces := request.headers.getall(headers.TRACEPARENT, [])) == 1
    ):  # its standard: else there is none
        said[headers.TRACEPARENT] = traces[0]
    return said


def _outcome(asked: Asked, reply: Reply) -> Response[bytes]:
    if reply.problem is not None:
        response = problems.rendered(msgspec.json.decode(problem_of(reply))).response()
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
    await check_query(request.user, tenant, query, lambda: _status(tenant, doors))
    wanted = preconditions.expected_versions(request.headers)
    fields = _encode(bodies.fields(given, _QUERY_KINDS.get((tenant == FLEET, query), {})))
    with asking(tenant, query, request.headers.get(headers.TRACEPARENT)):
        answer = await _in_time(doors.answer(tenant, query, fields), doors)
    version = _version_in(answer).version
    response = Response(answer, media_type=MediaType.JSON, headers={"Cache-Control": "private, no-cache"})
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
        if wanted is not None and version not in wanted:
            raise VersionConflict(f"The tenant is at version {version}.", version=version)
        if preconditions.is_known(request.headers, version):
            response.content, response.status_code = b"", 304
    return response


async def _status(tenant: str, doors: Doors) -> Status:
    return _status_in(await _in_time(doors.answer(tenant, "tenant", b""), doors)).status


async def _in_time(work: Awaitable[T], doors: Doors) -> T:
    try:
        async with asyncio.timeout(doors.limits.answer):
            return await work
    except TimeoutError:
        raise problems.NoAnswer(
            f"no answer within {doors.limits.answer:g} seconds; send a command again with its Idempotency-Key"
        ) from None
