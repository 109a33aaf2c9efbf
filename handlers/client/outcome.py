"""What came of a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from handlers.client.answers import Operation
from handlers.client.link import Link
from handlers.client.operations import followed
from handlers.wire.outcomes import refusal_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a command that was done.

    `version` is the tenant's, `position` that of the last event written, or of the log's end: give it to
    a query as `min_position` to read what was written. `operation_id` is the saga that goes on with it.
    """

    command_id: UUID
    tenant_id: UUID
    version: int
    position: int
    operation_id: UUID | None
    result: dict[str, Any]
    _link: Link = field(repr=False, compare=False)

    async def operation(self, timeout: float | None = None) -> Operation | None:
        """Wait until the operation has ended or is parked; None where the command started none.

        Raises NoAnswer after `timeout` seconds (as long as it takes without one).
        """
        if self.operation_id is None:
            return None
        return await followed(self._link, self.tenant_id, self.operation_id, timeout, self.position)


class _Outcome(msgspec.Struct, frozen=True):
    version: int = 0
    position: int = 0
    operation_id: UUID | None = None
    result: dict[str, Any] = {}
    error: dict[str, Any] | None = None


_read = msgspec.json.Decoder(_Outcome).decode


def outcome_of(link: Link, tenant_id: UUID, command_id: UUID, body: bytes) -> Outcome:
    """Return the outcome in `body`; raises the Refusal of a rejected one."""
    told = _read(body)
    if told.error is not None:
        raise refusal_of(told.error)
    link.written.note(tenant_id, told.position)
    return Outcome(
        command_id=command_id,
        tenant_id=tenant_id,
        version=told.version,
        position=told.position,
        operation_id=told.operation_id,
        result=told.result,
        _link=link,
    )
