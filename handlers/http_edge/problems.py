"""Problem documents (RFC 9457): the service's refusals, and the few that only HTTP knows.

HttpRefusal
├── BadRequest 400 · NoSuchRoute 404 · MethodNotAllowed 405 · RequestTimeout 408
├── ContentTooLarge 413 · UnsupportedMediaType 415
└── InternalError 500 · NoAnswer 504
"""

from __future__ import annotations

import html
import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException

from handlers.wire.outcomes import problem
from tenant_domain.refusals import REFUSALS, Refusal

_log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"

CHALLENGE = 'Bearer realm="tenants"'

RETRY_AFTER = 1
"""Seconds to wait where a refusal does not say how long: most parts are back within one."""


class HttpRefusal(Refusal):
    """A refusal of the edge itself, before any command or query was seen."""


class BadRequest(HttpRefusal):
    """The request is broken as HTTP: its path, its query string, or a body that ends early."""

    problem, status, title = "bad-request", 400, "The request is broken"


class NoSuchRoute(HttpRefusal):
    """Nothing answers at this path; /openapi.json lists what does."""

    problem, status, title = "no-such-route", 404, "There is no such route"


class MethodNotAllowed(HttpRefusal):
    """The path exists, and does not take this method; the header `Allow` says which it takes."""

    problem, status, title = "method-not-allowed", 405, "The route does not take this method"


class RequestTimeout(HttpRefusal):
    """The body did not arrive in time; nothing was done."""

    problem, status, title = "request-timeout", 408, "The request did not arrive in time"


class ContentTooLarge(HttpRefusal):
    """The body is larger than 256 KiB; nothing was done."""

    problem, status, title = "content-too-large", 413, "The body is too large"


class UnsupportedMediaType(HttpRefusal):
    """A body is one JSON object in UTF-8, `Content-Type: application/json`, not compressed."""

    problem, status, title = "unsupported-media-type", 415, "The body is not sent as JSON"


class InternalError(HttpRefusal):
    """A defect of the service: its log says more. Send a command again with its key."""

    problem, status, title = "internal-error", 500, "The service has a defect"


class NoAnswer(HttpRefusal):
    """No answer came in time, so what became of a command is not known: send it again with the same key."""

    problem, status, title = "no-answer", 504, "No answer came in time"


_OURS = (
    BadRequest,
    NoSuchRoute,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UnsupportedMediaType,
    InternalError,
    NoAnswer,
)
PROBLEMS: Mapping[str, type[Refusal]] = {**REFUSALS, **{kind.problem: kind for kind in _OURS}}
_BY_STATUS: Mapping[int, type[Refusal]] = {kind.status: kind for kind in _OURS}


class Rendered(NamedTuple):
    """A response, for the framework or without it."""

    status: int
    headers: dict[str, str]
    body: bytes

    def response(self) -> Response[bytes]:
        """Return it as the framework's."""
        headers = {**self.headers}
        kind = headers.pop("Content-Type")
        return Response(self.body, status_code=self.status, media_type=kind, headers=headers)


def rendered(fields: Mapping[str, Any]) -> Rendered:
    """Return the response whose body is the problem document `fields`."""
    status = int(fields["status"])
    headers = {"Content-Type": PROBLEM_JSON, "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(fields.get("retry_after", RETRY_AFTER))))
    return Rendered(status, headers, msgspec.json.encode(fields))


def of_refusal(_: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    """Return the response that says `refusal`."""
    return rendered(problem(refusal)).response()


def of_framework(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return the response for what the framework raised, or for a defect of ours."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = _BY_STATUS.get(status, InternalError if status >= 500 else BadRequest)
    if kind is InternalError:
        _log.error("http handler failed", exc_info=error)
    response = rendered(problem(kind(_sentence(kind)))).response()
    if isinstance(error, MethodNotAllowedException) and error.headers:
        methods = {method.strip() for method in error.headers.get("allow", "").split(",")}
        response.headers["Allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    return response


def page(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """Return what is to be known about a kind of problem, as JSON or for a browser.

    Raises NoSuchRoute for a name that no problem has.
    """
    kind = PROBLEMS.get(name)
    if kind is None:
        raise NoSuchRoute(f"there is no problem called {name[:100]!r}")
    fields = {
        "type": f"/problems/{name}",
        "title": kind.title,
        "status": kind.status,
        "description": _sentence(kind),
    }
    if "text/html" not in request.headers.get("accept", ""):
        return Response(msgspec.json.encode(fields), media_type=MediaType.JSON)
    text = {key: html.escape(str(value)) for key, value in fields.items()}
    return Response(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{text['title']}</title>"
        f"<h1>{text['title']}</h1><p><code>{html.escape(name)}</code>, HTTP status {text['status']}</p>"
        f"<p>{text['description']}</p>".encode(),
        media_type="text/html",
    )


def _sentence(kind: type[Refusal]) -> str:
    return " ".join((inspect.getdoc(kind) or kind.title).split())
