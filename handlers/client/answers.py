"""The answers of queries. Fields that a newer service adds are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

ENDED = frozenset({"succeeded", "rolled_back", "cancelled"})


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an operation; `error` is that of its last failed attempt. It may wait for a time."""

    name: str
    status: str
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    due_at: datetime | None = None
    retry_at: datetime | None = None


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next: `run` or `undo` of a step, not before a time, or `wait_for_operator`."""

    action: str
    step: str | None
    not_before: datetime | None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a saga.

    `status` is `running`, `succeeded`, `compensating`, `rolled_back`, `cancelled` or `parked`; `reason` says
    why it was undone, or what it is parked for.
    """

    operation_id: UUID
    tenant_id: UUID
    kind: str
    status: str
    steps: list[Step]
    started_at: datetime
    finished_at: datetime | None
    reason: str | None = None
    rerun_of: UUID | None = None
    next: Next | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended for good; a parked one has not."""
        return self.status in ENDED


class Controlled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one operation of a bulk: `completed` or `rejected`, with the problem in a sentence."""

    tenant_id: UUID
    operation_id: UUID
    status: str
    new_operation_id: UUID | None = None
    problem: str | None = None
    detail: str | None = None


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant; `operation_id` is the operation that holds it."""

    tenant_id: UUID
    name: str
    subdomain: str
    status: str
    plan: str
    region: str
    metadata: dict[str, str]
    settings: dict[str, Any]
    quotas: dict[str, int]
    created_at: datetime
    updated_at: datetime
    version: int
    operation_id: UUID | None
    position: int | None = None
    """The position that the answer includes; None inside a page."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """An event in a history; `version` counts in its entity's own stream.

    One that the service cannot read says why (`unreadable`): its data are as they were written, or None.
    """

    position: int
    tenant_id: UUID | None = None
    version: int
    type: str
    time: datetime
    data: Any
    actor: str | None = None
    correlation_id: str | None = None
    unreadable: str | None = None
