"""What the routes ask of the domain's authorisation: by command or query, before a body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from handlers.execution.bulk import BULK
from handlers.wire.subjects import FLEET
from projections.registry import QUESTIONS
from tenant_domain import authorisation
from tenant_domain.authorisation import Access, Caller
from tenant_domain.decision import Command
from tenant_domain.refusals import UnknownCommand, UnknownQuery, not_known
from tenant_domain.registry import COMMANDS
from tenant_domain.values import Status

StatusOf: TypeAlias = Callable[[], Awaitable[Status]]
"""Looks up a tenant's status; raises where there is no such tenant (any more)."""


async def check_command(caller: Caller, tenant: str, command: str, status: StatusOf) -> None:
    """Refuse unless the caller may ask for `command` on `tenant`, or on FLEET.

    Raises TenantNotFound, Forbidden, UnknownCommand, and what `status` raises.
    """
    authorisation.check_reach(caller, _reached(tenant))
    access = access_to_command(tenant, command)
    if access is None:
        raise UnknownCommand(not_known("command", command, BULK if tenant == FLEET else COMMANDS))
    await _check(caller, tenant, access, command, status)


def check_provision(caller: Caller) -> None:
    """Refuse (Forbidden) unless the caller may make tenants."""
    authorisation.check(caller, None, COMMANDS["provision"].access, "provision")


async def check_query(caller: Caller, tenant: str, query: str, status: StatusOf) -> None:
    """Refuse unless the caller may ask `query` about `tenant`, or about FLEET.

    Raises TenantNotFound, Forbidden, UnknownQuery, and what `status` raises.
    """
    authorisation.check_reach(caller, _reached(tenant))
    access = access_to_query(tenant, query)
    if access is None:
        known = [name for over_all, name in QUESTIONS if over_all == (tenant == FLEET)]
        raise UnknownQuery(not_known("query", query, known))
    await _check(caller, tenant, access, query, status)


def check_fields(caller: Caller, command: str, form: Command) -> None:
    """Refuse (Forbidden) a field that the caller may not set."""
    authorisation.check_fields(caller, COMMANDS[command].access, form)


def access_to_command(tenant: str, command: str) -> Access | None:
    """Return what a command needs; None when there is none of this name. Of many operations as of each."""
    spec = COMMANDS.get(BULK.get(command, "") if tenant == FLEET else command)
    return None if spec is None else spec.access


def access_to_query(tenant: str, query: str) -> Access | None:
    """Return what a query needs; None when there is none of this name."""
    question = QUESTIONS.get((tenant == FLEET, query))
    return None if question is None else question.access


async def _check(caller: Caller, tenant: str, access: Access, name: str, status: StatusOf) -> None:
    authorisation.check(caller, _reached(tenant), access, name)
    if not caller.is_operator and not caller.has(access.out_of_service):
        authorisation.check_service(caller, access, await status())


def _reached(tenant: str) -> str | None:
    return None if tenant == FLEET else tenant
