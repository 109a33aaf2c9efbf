"""The outcome of a command as every door gives it."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import msgspec

from handlers.store.batch import Recorded
from handlers.wire import outcomes
from tenant_domain.refusals import CommandIdReused, Refusal


class Reply(NamedTuple):
    """An outcome: `body` is its JSON, `status` 200 or the problem's, `problem` its name for a refusal.

    `operation_id` is the saga that goes on with a completed command.
    """

    body: bytes
    status: int = 200
    problem: str | None = None
    operation_id: UUID | None = None


class _Problem(msgspec.Struct):
    type: str
    status: int


class _Outcome(msgspec.Struct):
    operation_id: UUID | None = None
    error: _Problem | None = None


class _Rejected(msgspec.Struct):
    error: msgspec.Raw


_read = msgspec.json.Decoder(_Outcome).decode
_rejected = msgspec.json.Decoder(_Rejected).decode


def refused(command_id: UUID | None, tenant: UUID | str, refusal: Refusal) -> Reply:
    """Return the reply that says no; `tenant` is an id, or what stood in its place."""
    return Reply(outcomes.rejected(command_id, tenant, refusal), refusal.status, refusal.problem)


def reused(command_id: UUID, tenant_id: UUID) -> Reply:
    """Return the refusal of a command whose id stands for another one."""
    detail = "This command id was used before for another command or body; take a new one."
    return refused(command_id, tenant_id, CommandIdReused(detail))


def remembered(recorded: Recorded) -> Reply:
    """Return the reply of a command that the ledger has, byte for byte as it was."""
    body = outcomes.rendered(recorded.outcome, recorded.position)
    outcome = _read(body)
    if outcome.error is None:
        return Reply(body, operation_id=outcome.operation_id)
    return Reply(body, outcome.error.status, outcome.error.type.rpartition("/")[2])


def received(body: bytes, problem: str | None, status: str) -> Reply:
    """Return the reply that another worker gave: what its headers say of a refusal, and its body as it is."""
    if problem is not None:
        return Reply(body, int(status), problem)
    return Reply(body, operation_id=_read(body).operation_id)


def problem_of(reply: Reply) -> str:
    """Return the problem document of a refused command."""
    return bytes(_rejected(reply.body).error).decode()
