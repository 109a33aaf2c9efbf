"""Who may do what, until roles and memberships decide it: a table in one place.

A token within a tenant is refused while its tenant is out of service (suspended, or about to be deleted), but
for what its owners and admins need then: to see where it stands, and to fetch their data. Operators go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from handlers.http_edge.tokens import OPERATOR, Caller
from handlers.wire.subjects import FLEET
from tenant_domain.refusals import Forbidden
from tenant_domain.values import Status

WRITERS = frozenset((OPERATOR, "owner", "admin", "member"))
"""Roles that may change their tenant. `viewer`, and roles that are not known here, only read."""

OPERATORS_ONLY = frozenset(("provision",))
"""Commands that are nobody's own."""


HEADS = frozenset(("owner", "admin"))
"""Roles that speak for their whole tenant."""

OUT_OF_SERVICE = frozenset((Status.SUSPENDED, Status.PENDING_DELETION, Status.PURGING))

STILL_ANSWERED = frozenset(("tenant", "operation", "operations", "export", "certificate"))
"""Queries that a tenant's heads may ask while it is out of service, and when it is gone."""

StatusOf: TypeAlias = Callable[[], Awaitable[Status]]
"""Looks up a tenant's status; raises where there is no such tenant (any more)."""


async def check_service(caller: Caller, request: str, status: StatusOf) -> None:
    """Raise Forbidden when the caller's own tenant is out of service, and `request` is not for that time."""
    if caller.tenant is None or (caller.role in HEADS and request in STILL_ANSWERED):
        return
    if (found := await status()) in OUT_OF_SERVICE:
        raise Forbidden(f"the tenant is out of service ({found.value}); its owners and admins see why")


def check_export(caller: Caller, tenant: str) -> None:
    """Raise Forbidden unless the caller may have all data of `tenant`."""
    check_read(caller, tenant)
    if caller.tenant is not None and caller.role not in HEADS:
        raise Forbidden("only an owner or an admin fetches a tenant's export")


def check_read(caller: Caller, tenant: str) -> None:
    """Raise Forbidden unless the caller reaches `tenant`; FLEET is all of them."""
    if caller.tenant is None and caller.role == OPERATOR:
        return
    if tenant == FLEET:
        raise Forbidden("only an operator sees all tenants")
    if caller.tenant is None or caller.tenant != tenant:
        raise Forbidden("the token is for another tenant")


def check_command(caller: Caller, tenant: str, command: str) -> None:
    """Raise Forbidden unless the caller may ask for `command` on `tenant`."""
    check_read(caller, tenant)
    if caller.role not in WRITERS:
        raise Forbidden(f"the role {caller.role} only reads")
    if command in OPERATORS_ONLY and caller.tenant is not None:
        raise Forbidden("only an operator makes tenants")
