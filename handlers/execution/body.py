"""A command's body: strict JSON, in the one form that is compared, validated and hashed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal

import msgspec
from pydantic import ValidationError

from handlers.wire.keys import RepeatedKey, check_keys
from tenant_domain.decision import Command
from tenant_domain.refusals import InvalidCommand

MAX_BODY = 256 * 1024
"""Bytes a body may have (CONTRACT)."""

_MAX_ERRORS = 20
_MAX_NAME = 100

_LARGEST = 2.0**63
"""From here on a number with a fraction or an exponent stays what it is: no integer of a body is as large."""


def _number(text: str) -> int | float:
    """Return the number that a JSON number with a fraction or an exponent is: 1.0 and 1e0 are 1.

    Raises ValueError for one that no double holds.
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is out of range")
    if not value.is_integer() or abs(value) >= _LARGEST:
        return value
    exact = Decimal(text) if value else Decimal()
    return int(exact) if exact == exact.to_integral_value() else int(value)


_BOM = b"\xef\xbb\xbf"
_half_a_character = re.compile(
    rb"\\u(?:d[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..\\u)d[c-f])", re.IGNORECASE | re.DOTALL
).search
"""Finds an escape of a lone surrogate, or what may be one: asked only about what no reader took."""

_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(body: bytes) -> bytes:
    """Return the JSON object `body` with sorted keys and no blanks, each number written in one way.

    An empty body is `{}`. Bodies compare as values: gateways and JavaScript write 1 for 1.0.

    Raises InvalidCommand when it is too long, not one JSON object, or not JSON that everybody reads alike:
    invalid UTF-8, NaN, lone surrogates and repeated keys are none.
    """
    if not body:
        return b"{}"
    if len(body) > MAX_BODY:
        raise InvalidCommand.of("body", f"must have at most {MAX_BODY} bytes")
    try:
        value = _decode(body)
        if type(value) is not dict:
            raise InvalidCommand.of("body", "must be one JSON object")
        text = _encode(value)
        # Each key brings one colon: where a repeated one was dropped there are fewer. An escape may hide one.
        if b"\\u" in body or body.count(b":") != text.count(b":"):
            check_keys(body)
    except RepeatedKey as error:
        raise InvalidCommand.of(error.key[:_MAX_NAME], str(error)) from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise InvalidCommand.of("body", f"must be JSON: {_reason(error, body)}") from None
    return text


def validated(form: type[Command], text: bytes) -> Command:
    """Return the command that canonical JSON stands for.

    Raises InvalidCommand naming each field that does not fit; no value is repeated in it.
    """
    try:
        return form.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    errors = [{"field": _path(each["loc"]), "detail": _sentence(each["msg"])} for each in found[:_MAX_ERRORS]]
    first = errors[0]
    raise InvalidCommand(f"{first['field']}: {first['detail']}", errors=errors)


def _reason(error: Exception, body: bytes) -> str:
    match error:
        case msgspec.DecodeError() if _half_a_character(body):
            return "an escape is half a character (a lone surrogate)"
        case msgspec.DecodeError() if body.startswith(_BOM):
            return "it begins with a byte order mark, which JSON has none of"
        case UnicodeError():
            return "it is not UTF-8"
        case RecursionError():
            return "it is nested too deep"
        case _:
            return str(error)


def _path(location: Iterable[int | str]) -> str:
    return ".".join(str(step) for step in location)[:_MAX_NAME] or "body"


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")
