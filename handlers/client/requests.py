"""Commands as they go over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

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

    Raises ValueError for a tenant id that is none, and for a line break in what goes into a header.
    """
    command_id = request.command_id or uuid7()
    headers = {names.COMMAND_ID: str(command_id)}
    if request.expected_version is not None:
        headers[names.EXPECTED_VERSION] = str(request.expected_version)
    for header, attribute in _CARRIED:
        value = getattr(request, attribute)
        if value is not None:
            headers[header] = _header(attribute, value)
    name, body = _content(request)
    return Packed(id_of(request.tenant_id), name, command_id, body, headers)


def check_size(command: Packed) -> None:
    """Refuse, as the service would, a body that is too large. Raises InvalidCommand."""
    if len(command.body) > LARGEST_BODY:
        raise InvalidCommand.of("body", f"must have at most {LARGEST_BODY} bytes")


def id_of(tenant_id: UUID | str) -> UUID:
    """Return the tenant's id; raises ValueError for what is none."""
    return tenant_id if isinstance(tenant_id, UUID) else UUID(tenant_id)


def _content(request: Request) -> tuple[str, bytes]:
    if isinstance(request.command, str):
        return request.command, b"" if request.body is None else msgspec.json.encode(request.body)
    if request.body is not None:
        raise ValueError("a command that is a form has its body already")
    return request.command.name_, request.command.model_dump_json(exclude_unset=True).encode()


def _header(name: str, value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError(f"{name} must not contain a line break")
    return value
