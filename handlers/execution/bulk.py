"""Operators' commands in bulk: one command for each operation that a filter finds, over every door alike.

They go to the tenant `fleet`: `<prefix>.rpc.fleet.retry_operations`, or over HTTP as its command. Nothing of
the bulk itself is remembered; the command for each operation has an id that derives from the bulk's, so to
ask again under the same id does nothing twice, and goes on where a former try ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal
from uuid import UUID, uuid5

import msgspec
from pydantic import Field, model_validator

from handlers.execution.body import canonical, validated
from handlers.execution.decode import Request, check_headers, command_id_of, decoded
from handlers.execution.reply import Reply, problem_of
from handlers.wire.headers import COMMAND_ID
from handlers.wire.subjects import FLEET
from tenant_domain.decision import Command
from tenant_domain.operation.commands import StepName
from tenant_domain.operation.state import OperationStatus
from tenant_domain.refusals import InvalidCommand, Refusal, UnknownCommand, not_known
from tenant_domain.values import Id

BULK: Mapping[str, str] = {
    "retry_operations": "retry_operation",
    "cancel_operations": "cancel_operation",
    "compensate_operations": "compensate_operation",
    "rerun_operations": "rerun_operation",
}
"""The command that each bulk command gives to every operation it finds."""

_STEPWISE = frozenset({"compensate_operations", "rerun_operations"})


class ControlOperations(Command):
    """Do the same with every operation that fits: of a kind, with a status, of a tenant; a page at a time."""

    name_: ClassVar[str] = "control_operations"
    kind: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    status: OperationStatus | None = None
    tenant_id: Id | None = None
    from_step: StepName | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: Annotated[str, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def _something_is_chosen(self) -> ControlOperations:
        if self.kind is None and self.status is None and self.tenant_id is None:
            raise ValueError("at least one of kind, status, tenant_id must be given")
        return self


class ControlledOperation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one operation: `problem` and `detail` tell why it was refused."""

    tenant_id: UUID
    operation_id: UUID
    status: Literal["completed", "rejected"]
    new_operation_id: UUID | None = None
    problem: str | None = None
    detail: str | None = None


class ControlledPage(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the operations of one page, and where the next one begins."""

    items: list[ControlledOperation]
    next_cursor: str | None


class BulkOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a command for many operations."""

    command_id: UUID
    tenant_id: Literal["fleet"] = FLEET
    status: Literal["completed"] = "completed"
    result: ControlledPage


class _Found(msgspec.Struct):
    tenant_id: UUID
    operation_id: UUID


class _Page(msgspec.Struct):
    items: list[_Found]
    next_cursor: str | None


_page = msgspec.json.Decoder(_Page).decode
_encode = msgspec.json.Encoder().encode


class Bulk:
    """Gives commands to many operations. `listed` answers the query `operations` of a tenant or of `fleet`,
    `execute` settles one command; `new_id` makes the id of a bulk that comes without one.
    """

    def __init__(
        self,
        listed: Callable[[str, bytes], Awaitable[bytes]],
        execute: Callable[[Request], Awaitable[Reply]],
        new_id: Callable[[], UUID],
    ) -> None:
        self._listed = listed
        self._execute = execute
        self._new_id = new_id

    async def control(self, command: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Return what became of each operation on this page, and the cursor of the next one.

        Raises UnknownCommand, InvalidCommand, and what the query raises.
        """
        if command not in BULK:
            raise UnknownCommand(not_known("command for many operations", command, BULK))
        check_headers(headers)
        form = validated(ControlOperations, canonical(body))
        assert isinstance(form, ControlOperations)
        if form.from_step is not None and command not in _STEPWISE:
            raise InvalidCommand.of("from_step", f"has no meaning for {command}")
        bulk_id = self._id(headers)
        page = _page(await self._listed(str(form.tenant_id or FLEET), _wanted(form)))
        items = await asyncio.gather(
            *(self._one(BULK[command], headers, bulk_id, found, form) for found in page.items)
        )
        result = ControlledPage(items=items, next_cursor=page.next_cursor)
        return Reply(_encode(BulkOutcome(command_id=bulk_id, result=result)))

    def _id(self, headers: Mapping[str, str]) -> UUID:
        return command_id_of(headers) or self._new_id()

    async def _one(
        self, command: str, headers: Mapping[str, str], bulk_id: UUID, found: _Found, form: ControlOperations
    ) -> ControlledOperation:
        said = {**headers, COMMAND_ID: str(uuid5(bulk_id, str(found.operation_id)))}
        fields = {"operation_id": str(found.operation_id)}
        if form.from_step is not None:
            fields["from_step"] = form.from_step
        told = partial(ControlledOperation, tenant_id=found.tenant_id, operation_id=found.operation_id)
        try:
            request = decoded(
                str(found.tenant_id), command, said, _encode(fields), durable=False, new_id=self._new_id
            )
            reply = await self._execute(request)
        except Refusal as refusal:
            return told(status="rejected", problem=refusal.problem, detail=refusal.detail)
        if reply.problem is None:
            return told(status="completed", new_operation_id=_new_run(reply, found))
        problem = msgspec.json.decode(problem_of(reply))
        return told(status="rejected", problem=reply.problem, detail=problem["detail"])


def _new_run(reply: Reply, found: _Found) -> UUID | None:
    return None if reply.operation_id == found.operation_id else reply.operation_id


def _wanted(form: ControlOperations) -> bytes:
    fields = {"kind": form.kind, "status": form.status, "limit": form.limit, "cursor": form.cursor}
    return _encode({key: value for key, value in fields.items() if value is not None})
