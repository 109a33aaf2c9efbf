"""Commands of an operation: what an operator may ask of a run."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from tenant_domain.decision import Command


class RetryOperation(Command):
    """Go on with a parked run, or try the waiting step now."""

    name_: ClassVar[str] = "retry_operation"
    operation_id: UUID


class CancelOperation(Command):
    """Stop the run and undo what it did; it ends as `cancelled`."""

    name_: ClassVar[str] = "cancel_operation"
    operation_id: UUID


class CompensateOperation(Command):
    """Undo what the run did; it ends as `rolled_back`."""

    name_: ClassVar[str] = "compensate_operation"
    operation_id: UUID
