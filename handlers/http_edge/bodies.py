"""What a request brings: its body within limits, and its query parameters."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.types import Receive
from pydantic import BaseModel

from handlers.http_edge.problems import BadRequest, ContentTooLarge, RequestTimeout, UnsupportedMediaType

Kinds = Mapping[str, frozenset[str]]
"""JSON types and formats that each field of a form allows."""

MOST_PARAMETERS = 100
"""Most query parameters; no query has a tenth of that."""

_UTF_8 = ("charset=utf-8", 'charset="utf-8"', "charset=utf8")

_INTEGER = re.compile(r"-[0-9]{1,18}|[0-9]{1,19}")  # what fits into 64 bits
_OFFSET_WITHOUT_PLUS = re.compile(r" (?=\d\d:\d\d\Z)")
"""A plus that nobody percent-encoded arrives as a space; no time has one there."""


async def read(receive: Receive, announced: str | None, limit: int, seconds: float) -> bytes:
    """Return the body; `announced` is the Content-Length, if there is one.

    Raises ContentTooLarge beyond `limit` bytes, at once where that many are announced, RequestTimeout when
    it takes longer than `seconds`, and BadRequest when it ends early.
    """
    if announced is not None and announced.isdecimal() and int(announced) > limit:
        raise ContentTooLarge(f"the body has more than {limit} bytes")
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise BadRequest("the body ended early")
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise ContentTooLarge(f"the body has more than {limit} bytes")
                more = message.get("more_body", False)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {seconds:g} seconds") from None
    return b"".join(parts)


def check_media_type(request: Request[Any, Any, Any]) -> None:
    """Raise UnsupportedMediaType unless the request says that its body is plain JSON, or says nothing."""
    given = {each.lower() for each in request.headers.getall("content-type", ["application/json"])}
    if len(given) > 1:
        raise UnsupportedMediaType("send one `Content-Type`")
    kind, *parameters = (part.strip() for part in given.pop().split(";"))
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType("send one JSON object with `Content-Type: application/json`")
    if any(each.startswith("charset=") and each not in _UTF_8 for each in parameters):
        raise UnsupportedMediaType("send the JSON in UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body as it is, not compressed")


def parameters(query_string: bytes) -> list[tuple[str, str]]:
    """Return the query parameters in order. Raises BadRequest where they are not UTF-8, or too many."""
    try:
        return parse_qsl(
            query_string.decode(),
            keep_blank_values=True,
            max_num_fields=MOST_PARAMETERS,
            errors="strict",
        )
    except ValueError:
        raise BadRequest(
            f"the query string must be percent-encoded UTF-8 with at most {MOST_PARAMETERS} parameters"
        ) from None


def kinds_of(form: type[BaseModel]) -> Kinds:
    """Return what each field of a form may be, in the words of JSON Schema."""
    schema = form.model_json_schema()
    definitions = schema.get("$defs", {})
    return {name: frozenset(_kinds(field, definitions)) for name, field in schema["properties"].items()}


def fields(given: Iterable[tuple[str, str]], kinds: Kinds) -> dict[str, Any]:
    """Return query parameters as the fields of a form; a list is repeated, or has commas.

    What does not fit its kind stays a text, so that the form refuses it and names it. Raises BadRequest when
    another one than a list is given more than once.
    """
    result: dict[str, Any] = {}
    for name, text in given:
        kind = kinds.get(name, frozenset())
        if "array" in kind:
            result.setdefault(name, []).extend(part for part in text.split(",") if part)
        elif name in result:
            raise BadRequest(f"{name[:100]!r} is given more than once")
        else:
            result[name] = _typed(text, kind)
    return result


def _typed(text: str, kind: frozenset[str]) -> Any:
    if "integer" in kind and _INTEGER.fullmatch(text):
        return int(text)
    if "boolean" in kind and text in ("true", "false"):
        return text == "true"
    if "date-time" in kind:
        return _OFFSET_WITHOUT_PLUS.sub("+", text)
    return text


def _kinds(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    yield from (schema[key] for key in ("type", "format") if key in schema)
    for part in schema.get("anyOf", ()):
        yield from _kinds(part, definitions)
