"""`tenantctl history` and `tenantctl as-of`: what was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from handlers.cli import output
from handlers.cli.asking import one, pages, tenant_of, types_of
from handlers.cli.exits import Misuse
from handlers.cli.where import Common, Limit, connected

COLUMNS = ("position", "time", "type", "version", "actor", "data")
FLEET_COLUMNS = ("position", "time", "tenant_id", "type", "version", "actor", "data")
COMMON = Common()


async def history(
    tenant: str | None = None,
    *,
    from_position: Annotated[int | None, Parameter(name="--from")] = None,
    to_position: Annotated[int | None, Parameter(name="--to")] = None,
    types: Annotated[list[str] | None, Parameter(name="--type", negative="")] = None,
    limit: Limit = 100,
    common: Common = COMMON,
) -> None:
    """List facts about a tenant, or about all, oldest first.

    Example: tenantctl history acme --type tenant.activated --type tenant.suspended

    Parameters
    ----------
    tenant
        Id or subdomain of a tenant; all tenants by default.
    from_position
        First position.
    to_position
        Last position.
    types
        Name of a fact such as tenant.activated, as often as needed.
    limit
        Most facts to list; 0 is all.
    """
    types = types_of(types)
    async with connected(common) as client:
        target = None if tenant is None else await tenant_of(client, tenant)
        found = pages(
            client, target, "history", from_position=from_position, to_position=to_position, types=types
        )
        columns = FLEET_COLUMNS if target is None else COLUMNS
        await output.listed(found, columns, as_json=common.as_json, limit=limit, empty="No fact fits.")


async def as_of(
    tenant: str, *, at: str | None = None, version: int | None = None, common: Common = COMMON
) -> None:
    """Show a tenant as it was.

    Example: tenantctl as-of acme --at 2026-11-23T10:00:00Z

    Parameters
    ----------
    tenant
        Its id, or the subdomain that it holds now.
    at
        A time (RFC 3339); without a zone it is UTC.
    version
        A version of the tenant.
    """
    if (at is None) == (version is None):
        raise Misuse("give either --at or --version")
    time = at and _time(at)
    async with connected(common) as client:
        target = await tenant_of(client, tenant)
        one(await client.query(target, "as_of", at=time, version=version), common)


def _time(text: str) -> str:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(f"{text!r} is not a time such as 2026-11-23T10:00:00Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
