"""The part of the client that asks: queries, typed, and operations followed to their end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from handlers.client.answers import Fact, Operation, Tenant
from handlers.client.arguments import id_of, types_of
from handlers.client.link import Part
from handlers.client.operations import followed
from handlers.client.outcome import Outcome, outcome_of
from handlers.client.queries import all_items, fields_of, queried

_tenant = msgspec.json.Decoder(Tenant).decode
_operation = msgspec.json.Decoder(Operation).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode


class Queries(Part):
    """What can be asked.

    The answer includes what this client itself wrote. With a `min_position`, another one's outcome's, it
    includes what that command wrote; StaleRead is raised when the read models do not reach it in time
    (`timeout_ms`, a field of any query; 1000).
    """

    async def query(
        self,
        tenant_id: UUID | str | None,
        name: str,
        *,
        min_position: int | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Return the answer of any query about a tenant, or (None) over all tenants."""
        fields = fields_of(min_position=min_position, **fields)
        return _object(await queried(self._link, tenant_id, name, fields, timeout))

    async def tenant(
        self, tenant_id: UUID | str, *, min_position: int | None = None, timeout: float | None = None
    ) -> Tenant:
        """Return a tenant. Raises TenantNotFound, TenantGone."""
        fields = fields_of(min_position=min_position)
        return _tenant(await queried(self._link, tenant_id, "tenant", fields, timeout))

    async def by_subdomain(
        self, subdomain: str, *, min_position: int | None = None, timeout: float | None = None
    ) -> Tenant:
        """Return the tenant that holds a subdomain. Raises TenantNotFound."""
        fields = fields_of(subdomain=subdomain, min_position=min_position)
        return _tenant(await queried(self._link, None, "by_subdomain", fields, timeout))

    async def as_of(
        self,
        tenant_id: UUID | str,
        *,
        at: datetime | None = None,
        version: int | None = None,
        min_position: int | None = None,
        timeout: float | None = None,
    ) -> Tenant:
        """Return a tenant as it was at a time (with a zone, inclusive), or at a version of its stream."""
        fields = fields_of(at=at, version=version, min_position=min_position)
        return _tenant(await queried(self._link, tenant_id, "as_of", fields, timeout))

    async def outcome(
        self, tenant_id: UUID | str, command_id: UUID | str, *, timeout: float | None = None
    ) -> Outcome:
        """Return the recorded outcome of a command; raises the Refusal that it was, or NotFound."""
        tenant_id, command_id = id_of(tenant_id), id_of(command_id, "command_id")
        answer = await queried(self._link, tenant_id, "outcome", {"command_id": command_id}, timeout)
        return outcome_of(self._link, tenant_id, command_id, answer)

    async def operation(
        self,
        tenant_id: UUID | str,
        operation_id: UUID | str,
        *,
        min_position: int | None = None,
        timeout: float | None = None,
    ) -> Operation:
        """Return an operation as it is. Raises NotFound."""
        fields = fields_of(operation_id=id_of(operation_id, "operation_id"), min_position=min_position)
        return _operation(await queried(self._link, tenant_id, "operation", fields, timeout))

    async def wait_for_operation(
        self,
        tenant_id: UUID | str,
        operation_id: UUID | str,
        *,
        timeout: float | None = None,
        min_position: int = 0,
    ) -> Operation:
        """Return an operation once it has ended, or is parked and needs a person.

        Raises NoAnswer after `timeout` seconds (None: it waits as long as it takes), and NotFound.
        """
        ids = id_of(tenant_id), id_of(operation_id, "operation_id")
        return await followed(self._link, *ids, timeout, min_position)

    def operations(
        self,
        tenant_id: UUID | str | None,
        *,
        kind: str | None = None,
        status: str | None = None,
        min_position: int | None = None,
    ) -> AsyncGenerator[Operation]:
        """Yield the operations of a tenant, or (None) of all, oldest first."""
        fields = fields_of(kind=kind, status=status, min_position=min_position)
        return all_items(self._link, tenant_id, "operations", fields, Operation)

    def history(
        self,
        tenant_id: UUID | str | None,
        *,
        from_position: int | None = None,
        to_position: int | None = None,
        types: Collection[str] | None = None,
        min_position: int | None = None,
    ) -> AsyncGenerator[Fact]:
        """Yield the facts about a tenant, or (None) about all, oldest first; both positions inclusive.

        Raises UnknownType (a ValueError), at once, for a type that this version does not know, and
        InvalidArgument.
        """
        fields = fields_of(
            from_position=from_position,
            to_position=to_position,
            types=types_of(types),
            min_position=min_position,
        )
        return all_items(self._link, tenant_id, "history", fields, Fact)

    def fleet_tenants(
        self,
        *,
        status: str | None = None,
        plan: str | None = None,
        search: str | None = None,
        min_position: int | None = None,
    ) -> AsyncGenerator[Tenant]:
        """Yield all tenants that fit, oldest first; `search` is a part of the name or the subdomain."""
        fields = fields_of(status=status, plan=plan, search=search, min_position=min_position)
        return all_items(self._link, None, "tenants", fields, Tenant)
