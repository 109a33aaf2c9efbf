"""From what a door got (tokens, headers, body) to a request that can be decided, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from uuid import UUID

import msgspec

from handlers.execution.body import canonical, validated
from handlers.wire.events import Meta
from handlers.wire.headers import (
    ACTOR,
    CAUSATION_ID,
    COMMAND_ID,
    CORRELATION_ID,
    EXPECTED_VERSION,
    OF_COMMANDS,
    REPLY_TO,
    TRACEPARENT,
    Received,
)
from handlers.wire.subjects import is_inbox, is_tenant_id
from tenant_domain.authorisation import Authority
from tenant_domain.decision import Command
from tenant_domain.refusals import InvalidCommand, UnknownCommand, not_known
from tenant_domain.registry import COMMANDS
from tenant_domain.values import SEALED

ANY_VERSION = -1
"""Stands for every version that a tenant can be at, among those that it must not be at."""


class Request(msgspec.Struct, frozen=True):
    """A command that fits its form; `hash` tells it from any other one under its id, `size` is its body's.

    The tenant must be at one of `expected_versions`, and at none of `other_versions`, where they are given.
    `authority` is in whose name it came. `claim` is another place in the ledger where its id is taken, too:
    so an id stands for one tenant, whichever that is. `body` is what the form was read from, so that another
    worker can read it again; a durable command has none, since it stays where it is.
    """

    tenant_id: UUID
    command: str
    command_id: UUID
    form: Command
    hash: bytes
    expected_versions: Collection[int] | None
    meta: Meta
    size: int
    body: bytes = b""
    authority: Authority = Authority.SERVICE
    other_versions: Collection[int] = ()
    claim: UUID | None = None

    @property
    def claim_hash(self) -> bytes:
        """Return what tells the command from any other one that claims the same; its tenant belongs to it."""
        return blake2b(self.hash + self.tenant_id.bytes, digest_size=16).digest()


_uuid = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch
_version = re.compile(r"[0-9]{1,18}").fullmatch
_trace = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
# What goes on into events' headers: no control characters (it could end a header), no half characters, and
# not what the bus library puts in the place of bytes that are no UTF-8.
_text = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffd]{1,255}").fullmatch

_BY_LOWER = {name.lower(): name for name in OF_COMMANDS}

_Errors = list[dict[str, str]]


def decoded(
    tenant_token: str,
    command: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    durable: bool,
    new_id: Callable[[], UUID],
) -> Request:
    """Return the request that came in through a door.

    The durable door wants a `Command-Id` and takes a `Reply-To`; on the answered one a missing id is made by
    `new_id`, and `Reply-To` has no meaning. A `traceparent` that is none is left out, as its standard says.
    Raises InvalidCommand naming each header or field that does not fit, and UnknownCommand.
    """
    spec = COMMANDS.get(command)
    if spec is None:
        raise UnknownCommand(not_known("command", command, COMMANDS))
    errors: _Errors = []
    if not is_tenant_id(tenant_token):
        _refuse(errors, "tenant_id", "must be a lower-case hyphenated UUID")
    given = headers.get(COMMAND_ID)
    command_id = None
    if given is None and durable:
        _refuse(errors, COMMAND_ID, "is required: a UUID, the same when the command is sent again")
    elif given is None:
        command_id = new_id()
    elif _uuid(given):
        command_id = msgspec.convert(given, UUID)
    else:
        _refuse(errors, COMMAND_ID, "must be a hyphenated UUID")
    if durable and not is_inbox(headers.get(REPLY_TO, "_INBOX")):
        _refuse(errors, REPLY_TO, "must be an inbox of the caller (_INBOX…)")
    _check_names(headers, errors)
    expected = _expected_versions(headers, errors)
    meta = _meta(headers, given.lower() if given else str(command_id), errors)
    if errors or command_id is None:
        raise InvalidCommand(f"{errors[0]['field']}: {errors[0]['detail']}", errors=errors)
    text = canonical(body)
    return Request(
        tenant_id=msgspec.convert(tenant_token, UUID),
        command=command,
        command_id=command_id,
        form=validated(spec.form, text),
        hash=blake2b(command.encode() + b"\n" + text, digest_size=16).digest(),
        expected_versions=expected,
        meta=meta,
        size=len(body),
        body=b"" if durable else text,
    )


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse (InvalidCommand) headers that no command may have, as `decoded` does on the answered door."""
    errors: _Errors = []
    if COMMAND_ID in headers and command_id_of(headers) is None:
        _refuse(errors, COMMAND_ID, "must be a hyphenated UUID")
    _check_names(headers, errors)
    _expected_versions(headers, errors)
    _meta(headers, "", errors)
    if errors:
        raise InvalidCommand(f"{errors[0]['field']}: {errors[0]['detail']}", errors=errors)


def _check_names(headers: Mapping[str, str], errors: _Errors) -> None:
    if isinstance(headers, Received) and headers.repeated:
        for name in sorted(headers.repeated):
            if name.lower() in _BY_LOWER:
                _refuse(errors, name, "must stand there once")
    for name in headers:
        if name not in OF_COMMANDS and (right := _BY_LOWER.get(name.lower())) is not None:
            _refuse(errors, name, f"must be written {right}")


def command_id_of(headers: Mapping[str, str]) -> UUID | None:
    """Return the command id that a refused message came with, None when it has none that is one."""
    given = headers.get(COMMAND_ID, "")
    return msgspec.convert(given, UUID) if _uuid(given) else None


def _meta(headers: Mapping[str, str], command_id: str, errors: _Errors) -> Meta:
    trace = _trace_of(headers)
    return Meta(
        actor=_line(headers, ACTOR, errors),
        correlation_id=_line(headers, CORRELATION_ID, errors) or command_id,
        causation_id=_line(headers, CAUSATION_ID, errors) or command_id,
        traceparent=trace if trace is not None and _trace(trace) else None,
    )


def _trace_of(headers: Mapping[str, str]) -> str | None:
    """Return the trace that a command belongs to: its standard takes the name in any case, but only one."""
    given = [value for name, value in headers.items() if name.lower() == TRACEPARENT]
    repeated = isinstance(headers, Received) and any(each.lower() == TRACEPARENT for each in headers.repeated)
    return given[0] if len(given) == 1 and not repeated else None


def _line(headers: Mapping[str, str], name: str, errors: _Errors) -> str | None:
    value = headers.get(name)
    if value is not None and not _text(value):
        _refuse(errors, name, "must be 1–255 characters of UTF-8 without control characters")
    elif value is not None and value.startswith(SEALED):
        _refuse(errors, name, f"must not begin with {SEALED}")
    return value


def _expected_versions(headers: Mapping[str, str], errors: _Errors) -> Collection[int] | None:
    value = headers.get(EXPECTED_VERSION)
    if value is None:
        return None
    if not _version(value):
        _refuse(errors, EXPECTED_VERSION, "must be a version: a whole number, 0 or more")
        return None
    return (int(value),)


def _refuse(errors: _Errors, field: str, detail: str) -> None:
    errors.append({"field": field, "detail": detail})
