"""Commands as they go over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from uuid_utils.compat import uuid7

from handlers.client.arguments import header_of, id_of, json_of, token_of, whole_of
from handlers.client.errors import InvalidArgument
from handlers.wire import headers as names
from tenant_domain.decision import Command
from tenant_domain.refusals import InvalidCommand

LARGEST_BODY = 256 * 1024
"""Bytes that the service takes as a body."""


class Options(TypedDict, total=False):
    """What may come with any command."""

    command_id: UUID | None
    expected_version: int | None
    actor: str | None
    correlation_id: str | None
    causation_id: str | None
    traceparent: str | None


class Asking(Options, total=False):
    """Options of a command, and how long all its attempts may take, in seconds."""

    timeout: float | None


class Request(NamedTuple):
    """A command for one tenant: one of the domain's forms, or a name and a body.

    Without a `command_id` one is made. `expected_version` refuses it unless the tenant is at this version;
    the others are carried into every event that follows.
    """

    tenant_id: UUID | str
    command: Command | str
    body: Mapping[str, Any] | None = None
    command_id: UUID | None = None
    expected_version: int | None = None
    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class Packed(NamedTuple):
    """A command ready to be sent."""

    tenant_id: UUID
    command: str
    command_id: UUID
    body: bytes
    headers: dict[str, str]


_CARRIED = (
    (names.ACTOR, "actor"),
    (names.CORRELATION_ID, "correlation_id"),
    (names.CAUSATION_ID, "causation_id"),
    (names.TRACEPARENT, "traceparent"),
)


def packed(request: Request) -> Packed:
    """Return `request` ready to be sent.

    Raises InvalidArgument for what cannot be sent: an id that is none, a line break in a header.
    """
    if not isinstance(request, Request):  # pyright: ignore[reportUnnecessaryIsInstance] - who does not check types
        raise InvalidArgument(f"a command to send is a Request, not a {type(request).__name__}")
    command_id = uuid7() if request.command_id is None else id_of(request.command_id, "command_id")
    headers = {names.COMMAND_ID: str(command_id)}
    if request.expected_version is not None:
        version = whole_of(request.expected_version, "expected_version")
        headers[names.EXPECTED_VERSION] = str(version)
    for header, attribute in _CARRIED:
        value = getattr(request, attribute)
        if value is not None:
            headers[header] = header_of(value, attribute)
    name, body = _content(request)
    return Packed(id_of(request.tenant_id), name, command_id, body, headers)


def check_size(command: Packed) -> None:
    """Refuse, as the service would, a body that is too large. Raises InvalidCommand."""
    if len(command.body) > LARGEST_BODY:
        raise InvalidCommand.of("body", f"must have at most {LARGEST_BODY} bytes")


def _content(request: Request) -> tuple[str, bytes]:
    command, body = request.command, request.body
    if isinstance(command, Command):
        if body is not None:
            raise InvalidArgument("a command that is a form has its body already")
        return command.name_, command.model_dump_json(exclude_unset=True).encode()
    return token_of(command, "command"), b"" if body is None else json_of(body, "body")
