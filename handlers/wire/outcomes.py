"""Outcomes of commands, and problems, as they go over every door.

A completed outcome ends with its position, which is known only at the commit: what is stored of it is
everything before, and `rendered` completes it, so a repeated command is answered byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from tenant_domain.refusals import REFUSALS, Refusal

_encode = msgspec.json.Encoder().encode


def completed(
    command_id: UUID, tenant_id: UUID, version: int, operation_id: UUID | None, result: Mapping[str, Any]
) -> bytes:
    """Return a completed outcome without its end (`,"position":N}`), as it is recorded."""
    body = {
        "command_id": command_id,
        "tenant_id": tenant_id,
        "status": "completed",
        "version": version,
        "operation_id": operation_id,
        "result": result,
    }
    return _encode(body)[:-1]


def rejected(command_id: UUID | str | None, tenant_id: UUID | str, refusal: Refusal) -> bytes:
    """Return the whole outcome of a refused command."""
    return _encode(
        {
            "command_id": command_id,
            "tenant_id": tenant_id,
            "status": "rejected",
            "error": problem(refusal),
        }
    )


def rendered(recorded: bytes, position: int | None) -> bytes:
    """Return the outcome as the caller gets it: a completed one with its position; else as recorded."""
    return recorded if position is None else b'%b,"position":%d}' % (recorded, position)


def problem(refusal: Refusal) -> dict[str, Any]:
    """Return the problem document of a refusal (RFC 9457)."""
    return {
        "type": f"/problems/{refusal.problem}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        **refusal.extra,
    }


def refusal_of(document: Mapping[str, Any]) -> Refusal:
    """Return the refusal that a problem document stands for; unknown kinds become a plain Refusal."""
    name = str(document.get("type", "")).rsplit("/", 1)[-1]
    extra = {
        key: value for key, value in document.items() if key not in ("type", "title", "status", "detail")
    }
    kind = REFUSALS.get(name)
    if kind is None:
        kind = type(
            "UnknownRefusal",
            (Refusal,),
            {
                "problem": name,
                "status": int(document.get("status", 500)),
                "title": str(document.get("title", name)),
            },
        )
    return kind(str(document.get("detail", "")), **extra)
