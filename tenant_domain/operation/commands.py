"""Commands of an operation: what an operator may ask of a run."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tenant_domain.decision import Command
from tenant_domain.values import Id

StepName = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,62}$")]


class RetryOperation(Command):
    """Go on with a parked run, or try the waiting step now."""

    name_: ClassVar[str] = "retry_operation"
    operation_id: Id


class CancelOperation(Command):
    """Stop the run and undo what it did; it ends as `cancelled`."""

    name_: ClassVar[str] = "cancel_operation"
    operation_id: Id


class CompensateOperation(Command):
    """Undo what the run did, from `from_step` backwards; it ends as `rolled_back`.

    What the run did after that step counts as undone by hand: the way past an undoing that cannot succeed.
    """

    name_: ClassVar[str] = "compensate_operation"
    operation_id: Id
    from_step: StepName | None = None


class RerunOperation(Command):
    """Run an operation that has ended again, as a new run: whole, or its steps from `from_step` on."""

    name_: ClassVar[str] = "rerun_operation"
    operation_id: Id
    from_step: StepName | None = None
