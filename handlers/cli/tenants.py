"""`tenantctl tenants …`: tenants, asked for and changed over NATS."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

from cyclopts import App, Parameter
from uuid_utils.compat import uuid7

from handlers.cli import ending, output
from handlers.cli.asking import commanded, given, one, pages, pairs, tenant_of
from handlers.cli.where import Asking, Common, Limit, connected

app = App(name="tenants", help="Tenants: list, show, provision, update, upgrade, suspend, resume, terminate.")
for _command in (ending.terminate, ending.cancel_termination, ending.legal_hold, ending.export):
    app.command(_command)

COLUMNS = ("tenant_id", "subdomain", "name", "status", "plan", "region", "version")
COMMON, ASKING = Common(), Asking()

Pairs = Annotated[list[str] | None, Parameter(negative="")]


@app.command(name="list")
async def list_tenants(
    *,
    search: str | None = None,
    status: str | None = None,
    plan: str | None = None,
    limit: Limit = 100,
    common: Common = COMMON,
) -> None:
    """List tenants, oldest first.

    Example: tenantctl tenants list --status active --search acme

    Parameters
    ----------
    search
        A part of the name or the subdomain, in any case.
    status
        provisioning, active, suspended, pending_deletion, purging, deleted or failed.
    plan
        free, basic, professional or enterprise.
    limit
        Most tenants to list; 0 is all.
    """
    async with connected(common) as client:
        found = pages(client, None, "tenants", search=search, status=status, plan=plan)
        await output.listed(found, COLUMNS, as_json=common.as_json, limit=limit, empty="No tenant fits.")


@app.command
async def show(tenant: str, *, common: Common = COMMON) -> None:
    """Show a tenant.

    Example: tenantctl tenants show acme

    Parameters
    ----------
    tenant
        Its id, or the subdomain that it holds.
    """
    async with connected(common) as client:
        one(await client.query(await tenant_of(client, tenant), "tenant"), common)


@app.command
async def provision(
    *,
    name: str,
    subdomain: str,
    admin_email: str,
    admin_name: str,
    admin_user_id: str | None = None,
    plan: str | None = None,
    region: str | None = None,
    trial_days: int | None = None,
    metadata: Pairs = None,
    tenant_id: UUID | None = None,
    asking: Asking = ASKING,
) -> int:
    """Make a tenant.

    Example: tenantctl tenants provision --name Acme --subdomain acme --admin-email ada@acme.example
    --admin-name "Ada Lovelace" --wait

    Parameters
    ----------
    name
        What the tenant is called.
    subdomain
        A DNS label that no other tenant has.
    admin_email
        Address of the first admin.
    admin_name
        Name of the first admin.
    admin_user_id
        The admin's user id: a member at once. Without it the admin is invited.
    plan
        free, basic (by default), professional or enterprise.
    region
        Where it lives, as eu-central (by default) or us-east; a wrong one is answered with all there are.
    trial_days
        Days of a trial; none by default.
    metadata
        KEY=VALUE, as often as needed.
    tenant_id
        A UUID of your choice; made up by default.
    """
    fields: dict[str, Any] = {
        "name": name,
        "subdomain": subdomain,
        "admin": given({"email": admin_email, "name": admin_name, "user_id": admin_user_id}),
        "plan": plan,
        "region": region,
        "trial_days": trial_days,
        "metadata": pairs(metadata),
    }
    return await commanded(tenant_id or uuid7(), "provision", fields, asking)


@app.command
async def update(
    tenant: str,
    *,
    name: str | None = None,
    subdomain: str | None = None,
    metadata: Pairs = None,
    settings: Pairs = None,
    asking: Asking = ASKING,
) -> int:
    """Change what is given.

    Example: tenantctl tenants update acme --name "Acme & Sons" --settings beta=true --settings locale=null

    Parameters
    ----------
    tenant
        Its id or subdomain.
    name
        The new name.
    subdomain
        The new subdomain.
    metadata
        KEY=VALUE, as often as needed; replaces all former metadata.
    settings
        KEY=JSON, as often as needed; null removes a key. What is no JSON counts as text.
    """
    texts = pairs(settings)
    fields = {
        "name": name,
        "subdomain": subdomain,
        "metadata": pairs(metadata),
        "settings": None if texts is None else {key: _json(text) for key, text in texts.items()},
    }
    return await commanded(tenant, "update_profile", fields, asking)


@app.command
async def suspend(tenant: str, *, reason: str, asking: Asking = ASKING) -> int:
    """Take a tenant out of service.

    Example: tenantctl tenants suspend acme --reason "Invoice 2026-114 is 60 days overdue"

    Parameters
    ----------
    tenant
        Its id or subdomain.
    reason
        Why; stands in its history.
    """
    return await commanded(tenant, "suspend", {"reason": reason}, asking)


@app.command
async def resume(tenant: str, *, asking: Asking = ASKING) -> int:
    """Put a suspended tenant back into service.

    Example: tenantctl tenants resume acme --wait

    Parameters
    ----------
    tenant
        Its id or subdomain.
    """
    return await commanded(tenant, "resume", {}, asking)


@app.command
async def upgrade(
    tenant: str, *, plan: str, effective: Literal["now", "period_end"] | None = None, asking: Asking = ASKING
) -> int:
    """Move a tenant to any other plan, up or down.

    Example: tenantctl tenants upgrade acme --plan enterprise --effective period_end

    Parameters
    ----------
    tenant
        Its id or subdomain.
    plan
        free, basic, professional or enterprise.
    effective
        now, or period_end: the next month's first midnight (UTC). Until then its operation can be cancelled.
    """
    fields = given({"plan": plan, "effective": effective})
    return await commanded(tenant, "upgrade", fields, asking)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
