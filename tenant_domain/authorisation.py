"""Who may do what: roles, what a command or a query needs, and the one function that every door asks.

What is needed is declared with the command (`aggregate.py` of its aggregate) or the query (projections).
There is no default: what has no declaration is done for nobody, and a role that is not known may nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel

from tenant_domain.refusals import Forbidden, TenantNotFound
from tenant_domain.values import Status

OPERATOR = "operator"
"""The role of those who run the service; it is one only without a tenant, and reaches all of them."""

OPERATORS = frozenset((OPERATOR,))
OWNERS = OPERATORS | {"owner"}
HEADS = OWNERS | {"admin"}
"""Who speaks for a whole tenant."""
WRITERS = HEADS | {"member"}
READERS = WRITERS | {"viewer"}

OUT_OF_SERVICE = frozenset((Status.SUSPENDED, Status.PENDING_DELETION, Status.PURGING))
"""In these statuses a tenant's own people reach next to nothing; operators go on."""

ROLES = (OPERATOR, "owner", "admin", "member", "viewer")
"""All roles, from who may most to who may least."""


class Authority(StrEnum):
    """In whose name a command came: that of a trusted service, of an operator, of the tenant's own people.

    What one of them closed, only the same or a higher one opens again: see `require_authority`.
    """

    SERVICE = "service"
    OPERATOR = "operator"
    TENANT = "tenant"


class Caller(NamedTuple):
    """Who asks. `tenant` is the only one that the caller reaches; None is for those who run the service."""

    subject: str
    tenant: str | None
    role: str

    @property
    def is_operator(self) -> bool:
        """Whether the caller runs the service; a role of that name within a tenant is not that."""
        return self.tenant is None and self.role == OPERATOR

    @property
    def authority(self) -> Authority:
        """In whose name the caller's commands are decided."""
        return Authority.OPERATOR if self.is_operator else Authority.TENANT

    def has(self, roles: frozenset[str]) -> bool:
        """Return whether the caller has one of `roles`."""
        return self.is_operator if self.role == OPERATOR else self.tenant is not None and self.role in roles


class Access(NamedTuple):
    """What a command or a query needs: one of `roles`; `fields` are those that fewer roles may set.

    `out_of_service` are the roles that a tenant's own people need while their tenant is out of service.
    """

    roles: frozenset[str]
    out_of_service: frozenset[str] = frozenset()
    fields: tuple[tuple[str, frozenset[str]], ...] = ()


def check_reach(caller: Caller, tenant: str | None) -> None:
    """Refuse what is not the caller's; `tenant` is None for all of them.

    Another tenant is answered as one that does not exist (TenantNotFound); Forbidden where it is all of them.
    """
    if caller.is_operator:
        return
    if tenant is None:
        raise Forbidden("only an operator reaches all tenants")
    if caller.tenant is None or caller.tenant != tenant:
        raise TenantNotFound(f"There is no tenant {tenant[:100]}.")


def check(caller: Caller, tenant: str | None, access: Access, name: str) -> None:
    """Refuse (TenantNotFound, Forbidden) unless the caller may ask for `name`, which needs `access`."""
    check_reach(caller, tenant)
    if not caller.has(access.roles):
        raise Forbidden(f"{name} is for {_named(access.roles)}; the role {caller.role[:100]} may not")


def check_service(caller: Caller, access: Access, status: Status) -> None:
    """Refuse (Forbidden) a tenant's own people what has to wait until their tenant is in service again."""
    if status in OUT_OF_SERVICE and not caller.is_operator and not caller.has(access.out_of_service):
        raise Forbidden(f"the tenant is out of service ({status.value}); its owners and admins see why")


def check_fields(caller: Caller, access: Access, form: BaseModel) -> None:
    """Refuse (Forbidden) a field that the caller may not set to anything but what it is by default."""
    for field, roles in access.fields:
        usual = type(form).model_fields[field].default
        if getattr(form, field) != usual and not caller.has(roles):
            raise Forbidden(f"{field} other than {usual} is for {_named(roles)}")


def require_authority(
    command: str, asking: Authority, closed_by: Authority, why: str | None, *, done: str
) -> None:
    """Refuse (Forbidden) a tenant's own people what others have to undo; say who `done` it, and why."""
    if asking is not Authority.TENANT or closed_by is Authority.TENANT:
        return
    who = "an operator" if closed_by is Authority.OPERATOR else "the service"
    reason = {} if why is None else {"reason": why}
    raise Forbidden(
        f"{who} {done}, so the tenant's own people cannot {command}" + ("" if why is None else f": {why}"),
        by=closed_by.value,
        **reason,
    )


def _named(roles: frozenset[str]) -> str:
    names = [role for role in ROLES if role in roles]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
