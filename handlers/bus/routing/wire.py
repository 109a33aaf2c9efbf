"""A command on its way from one worker to another: all that was read of it, save its form."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec

from handlers.execution.body import validated
from handlers.execution.decode import Request
from tenant_domain.refusals import UnknownCommand
from tenant_domain.registry import COMMANDS

_kinds = {name: kind for name, kind in get_type_hints(Request).items() if name != "form"}
_Carried: Any = msgspec.defstruct("_Carried", list(_kinds.items()), kw_only=True)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Carried).decode


def encoded(request: Request) -> bytes:
    """Return what carries a command that came in through another door than the durable one."""
    return _encode(_Carried(**{name: getattr(request, name) for name in _kinds}))


def decoded(carried: bytes) -> Request:
    """Return the command again.

    Raises msgspec.MsgspecError and Refusal for one that this version of the program cannot read.
    """
    found = _decode(carried)
    spec = COMMANDS.get(found.command)
    if spec is None:
        raise UnknownCommand("This version does not know the command.")
    fields = {name: getattr(found, name) for name in _kinds}
    return Request(**fields, form=validated(spec.form, found.body))
