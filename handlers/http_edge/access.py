"""Who may do what, until roles and memberships decide it: a table in one place."""

from __future__ import annotations

from handlers.http_edge.tokens import OPERATOR, Caller
from handlers.wire.subjects import FLEET
from tenant_domain.refusals import Forbidden

WRITERS = frozenset((OPERATOR, "owner", "admin", "member"))
"""Roles that may change their tenant. `viewer`, and roles that are not known here, only read."""

OPERATORS_ONLY = frozenset(("provision",))
"""Commands that are nobody's own."""


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
