"""The part of the client that has commands done, and answers after the commit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal, Unpack, get_args
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from handlers.client.answers import Controlled
from handlers.client.arguments import id_of, json_of
from handlers.client.errors import InvalidArgument, NoAnswer
from handlers.client.link import Part, ask
from handlers.client.outcome import Outcome, outcome_of
from handlers.client.queries import fields_of
from handlers.client.requests import Asking, Options, Request, check_size, packed
from handlers.wire.headers import COMMAND_ID
from handlers.wire.subjects import FLEET
from tenant_domain.decision import Command
from tenant_domain.operation.commands import (
    CancelOperation,
    CompensateOperation,
    RerunOperation,
    RetryOperation,
)
from tenant_domain.tenant.commands import (
    Admin,
    CancelTermination,
    PlaceLegalHold,
    ReleaseLegalHold,
    Resume,
    Suspend,
    Terminate,
    Upgrade,
)


class _Page(msgspec.Struct):
    items: list[Controlled]
    next_cursor: str | None


class _Bulk(msgspec.Struct):
    result: _Page


Control = Literal["retry", "cancel", "compensate", "rerun"]
_CONTROLS: tuple[Control, ...] = get_args(Control)

_controlled = msgspec.json.Decoder(_Bulk).decode


class Commands(Part):
    """The answered door."""

    async def command(
        self,
        tenant_id: UUID | str,
        command: Command | str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Outcome:
        """Have a command done and return its outcome: one of the domain's forms, or a name and a body.

        It is repeated under the same id until it is answered, which does it once. Raises the Refusal, and
        NoAnswer, which names the id to ask for, when it is not known what came of it; InvalidArgument and
        ClientClosed, before anything is sent.
        """
        order = packed(Request(tenant_id, command, body, **options))
        check_size(order)
        timeout = self._link.within(timeout)
        subject = self._link.subjects.rpc(order.tenant_id, order.command)
        try:
            answer = await ask(self._link, subject, order.body, order.headers, timeout)
        except NoAnswer as error:
            raise NoAnswer.to(order.tenant_id, order.command_id, timeout) from error
        return outcome_of(self._link, order.tenant_id, order.command_id, answer)

    async def provision(
        self,
        *,
        name: str,
        subdomain: str,
        admin: Admin | Mapping[str, Any],
        tenant_id: UUID | str | None = None,
        plan: str | None = None,
        region: str | None = None,
        trial_days: int | None = None,
        metadata: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Begin to make a tenant, whose id is made here unless given; `outcome.operation()` waits for it."""
        body = fields_of(
            name=name,
            subdomain=subdomain,
            admin=admin.model_dump(exclude_unset=True) if isinstance(admin, Admin) else admin,
            plan=plan,
            region=region,
            trial_days=trial_days,
            metadata=metadata,
            settings=settings,
        )
        return await self.command(uuid7() if tenant_id is None else tenant_id, "provision", body, **asking)

    async def update_profile(
        self,
        tenant_id: UUID | str,
        *,
        name: str | None = None,
        subdomain: str | None = None,
        metadata: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Change what is given; `metadata` replaces the former, in `settings` a None removes a key."""
        body = fields_of(name=name, subdomain=subdomain, metadata=metadata, settings=settings)
        return await self.command(tenant_id, "update_profile", body, **asking)

    async def suspend(self, tenant_id: UUID | str, reason: str, **asking: Unpack[Asking]) -> Outcome:
        """Take the tenant out of service."""
        return await self.command(tenant_id, Suspend.name_, {"reason": reason}, **asking)

    async def resume(self, tenant_id: UUID | str, **asking: Unpack[Asking]) -> Outcome:
        """Put the tenant back into service."""
        return await self.command(tenant_id, Resume.name_, **asking)

    async def upgrade(
        self, tenant_id: UUID | str, plan: str, *, effective: str | None = None, **asking: Unpack[Asking]
    ) -> Outcome:
        """Move the tenant to any other plan: `now` (default), or at `period_end`."""
        body = fields_of(plan=plan, effective=effective)
        return await self.command(tenant_id, Upgrade.name_, body, **asking)

    async def terminate(
        self,
        tenant_id: UUID | str,
        confirm_subdomain: str,
        *,
        reason: str | None = None,
        retain_days: int | None = None,
        **asking: Unpack[Asking],
    ) -> Outcome:
        """End the tenant: its access at once, its data after `retain_days` (30; 0 is at once)."""
        body = fields_of(confirm_subdomain=confirm_subdomain, reason=reason, retain_days=retain_days)
        return await self.command(tenant_id, Terminate.name_, body, **asking)

    async def cancel_termination(self, tenant_id: UUID | str, **asking: Unpack[Asking]) -> Outcome:
        """Bring back a tenant whose data is not destroyed yet."""
        return await self.command(tenant_id, CancelTermination.name_, **asking)

    async def place_legal_hold(self, tenant_id: UUID | str, reason: str, **asking: Unpack[Asking]) -> Outcome:
        """Forbid that the tenant's data is destroyed; a termination stops where it is."""
        return await self.command(tenant_id, PlaceLegalHold.name_, {"reason": reason}, **asking)

    async def release_legal_hold(self, tenant_id: UUID | str, **asking: Unpack[Asking]) -> Outcome:
        """Let the tenant's data be destroyed again; a termination that stopped goes on."""
        return await self.command(tenant_id, ReleaseLegalHold.name_, **asking)

    async def retry_operation(
        self, tenant_id: UUID | str, operation_id: UUID | str, **asking: Unpack[Asking]
    ) -> Outcome:
        """Let a parked operation go on, or a waiting one at once."""
        body = {"operation_id": id_of(operation_id, "operation_id")}
        return await self.command(tenant_id, RetryOperation.name_, body, **asking)

    async def cancel_operation(
        self, tenant_id: UUID | str, operation_id: UUID | str, **asking: Unpack[Asking]
    ) -> Outcome:
        """Stop an operation and undo it; it ends as `cancelled`."""
        body = {"operation_id": id_of(operation_id, "operation_id")}
        return await self.command(tenant_id, CancelOperation.name_, body, **asking)

    async def compensate_operation(
        self,
        tenant_id: UUID | str,
        operation_id: UUID | str,
        from_step: str | None = None,
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Undo an operation, from a step backwards where one is given; it ends as `rolled_back`."""
        body = fields_of(operation_id=id_of(operation_id, "operation_id"), from_step=from_step)
        return await self.command(tenant_id, CompensateOperation.name_, body, **asking)

    async def rerun_operation(
        self,
        tenant_id: UUID | str,
        operation_id: UUID | str,
        from_step: str | None = None,
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Run an operation that has ended again, as a new run: whole, or from a step on."""
        body = fields_of(operation_id=id_of(operation_id, "operation_id"), from_step=from_step)
        return await self.command(tenant_id, RerunOperation.name_, body, **asking)

    async def control_operations(
        self,
        control: Control,
        *,
        kind: str | None = None,
        status: str | None = None,
        tenant_id: UUID | str | None = None,
        from_step: str | None = None,
        bulk_id: UUID | None = None,
    ) -> AsyncGenerator[Controlled]:
        """Do the same with every operation that fits, and yield what became of each; needs some filter.

        Under the same `bulk_id` nothing is done twice. Raises the Refusal of the whole, and NoAnswer;
        InvalidArgument, and ClientClosed.
        """
        if control not in _CONTROLS:
            raise InvalidArgument(f"control must be one of {', '.join(_CONTROLS)}, not {control!r}")
        chosen = {
            "kind": kind,
            "status": status,
            "tenant_id": None if tenant_id is None else str(id_of(tenant_id)),
            "from_step": from_step,
        }
        headers = {COMMAND_ID: str(uuid7() if bulk_id is None else id_of(bulk_id, "bulk_id"))}
        subject = self._link.subjects.rpc(FLEET, f"{control}_operations")
        cursor: str | None = None
        while True:
            body = json_of(fields_of(**chosen, cursor=cursor), "the filter")
            answer = await ask(self._link, subject, body, headers, self._link.timeout)
            page = _controlled(answer).result
            for each in page.items:
                yield each
            cursor = page.next_cursor
            if cursor is None:
                return
