"""`tenantctl operations …`: runs of sagas, and what an operator may ask of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec
from cyclopts import App

from handlers.cli import output
from handlers.cli.asking import commanded, pages, show_operation, succeeded, tenant_of
from handlers.cli.exits import DONE, REFUSED
from handlers.cli.where import Asking, Common, Limit, connected

if TYPE_CHECKING:
    from handlers.client import TenantClient

app = App(name="operations", help="Runs of sagas: list, show, retry, cancel, compensate, rerun; one or many.")

Control = Literal["retry", "cancel", "compensate", "rerun"]
CONTROLLED = ("operation_id", "tenant_id", "status", "new_operation_id", "detail")

COLUMNS = ("operation_id", "tenant_id", "kind", "status", "started_at", "finished_at")
COMMON, ASKING = Common(), Asking()


@app.command(name="list")
async def list_operations(
    tenant: str | None = None,
    *,
    kind: str | None = None,
    status: str | None = None,
    limit: Limit = 100,
    common: Common = COMMON,
) -> None:
    """List operations, oldest first.

    Example: tenantctl operations list --status parked

    Parameters
    ----------
    tenant
        Id or subdomain of a tenant; all tenants by default.
    kind
        provisioning, upgrade, suspension, resumption or termination.
    status
        running, succeeded, compensating, rolled_back, cancelled or parked.
    limit
        Most operations to list; 0 is all.
    """
    async with connected(common) as client:
        target = None if tenant is None else await tenant_of(client, tenant)
        found = pages(client, target, "operations", kind=kind, status=status)
        await output.listed(found, COLUMNS, as_json=common.as_json, limit=limit, empty="No operation fits.")


@app.command
async def show(tenant: str, operation_id: UUID, *, wait: bool = False, common: Common = COMMON) -> int:
    """Show an operation with its steps.

    Example: tenantctl operations show acme 6c1f7c1e-52a7-5f0e-8a55-0d9ad1f0a3b2 --wait

    Parameters
    ----------
    tenant
        Id or subdomain of its tenant.
    operation_id
        Its id.
    wait
        Wait until it has ended or is parked; exit code 1 unless it succeeded.
    """
    async with connected(common) as client:
        target = await tenant_of(client, tenant)
        if not wait:
            show_operation(await client.query(target, "operation", operation_id=operation_id), common)
            return DONE
        ended = await client.wait_for_operation(target, operation_id)
        show_operation(msgspec.to_builtins(ended), common)
        return DONE if succeeded(ended) else REFUSED


@app.command
async def retry(tenant: str, operation_id: UUID, *, asking: Asking = ASKING) -> int:
    """Let a parked operation go on, or one that waits try at once.

    Example: tenantctl operations retry acme 6c1f7c1e-52a7-5f0e-8a55-0d9ad1f0a3b2

    Parameters
    ----------
    tenant
        Id or subdomain of its tenant.
    operation_id
        Its id.
    """
    return await commanded(tenant, "retry_operation", {"operation_id": operation_id}, asking)


@app.command
async def cancel(tenant: str, operation_id: UUID, *, asking: Asking = ASKING) -> int:
    """Stop an operation and undo it; it ends as cancelled.

    Example: tenantctl operations cancel acme 6c1f7c1e-52a7-5f0e-8a55-0d9ad1f0a3b2

    Parameters
    ----------
    tenant
        Id or subdomain of its tenant.
    operation_id
        Its id.
    """
    return await commanded(tenant, "cancel_operation", {"operation_id": operation_id}, asking)


@app.command
async def compensate(
    tenant: str, operation_id: UUID, *, from_step: str | None = None, asking: Asking = ASKING
) -> int:
    """Undo what an operation did; it ends as rolled_back.

    Example: tenantctl operations compensate acme 6c1f7c1e-52a7-5f0e-8a55-0d9ad1f0a3b2

    Parameters
    ----------
    tenant
        Id or subdomain of its tenant.
    operation_id
        Its id.
    from_step
        Undo from this step backwards; what was done after it counts as undone by hand.
    """
    return await commanded(
        tenant, "compensate_operation", {"operation_id": operation_id, "from_step": from_step}, asking
    )


@app.command
async def rerun(
    tenant: str, operation_id: UUID, *, from_step: str | None = None, asking: Asking = ASKING
) -> int:
    """Run an operation that has ended again, as a new one.

    Example: tenantctl operations rerun acme 6c1f7c1e-52a7-5f0e-8a55-0d9ad1f0a3b2 --from-step notify

    Parameters
    ----------
    tenant
        Id or subdomain of its tenant.
    operation_id
        Its id.
    from_step
        Of one that succeeded: the first step that is done again.
    """
    return await commanded(
        tenant, "rerun_operation", {"operation_id": operation_id, "from_step": from_step}, asking
    )


@app.command
async def bulk(
    control: Control,
    *,
    kind: str | None = None,
    status: str | None = None,
    tenant: str | None = None,
    from_step: str | None = None,
    common: Common = COMMON,
) -> int:
    """Do the same with every operation that fits a filter; exit code 1 when one of them was refused.

    Example: tenantctl operations bulk retry --status parked --kind provisioning

    Parameters
    ----------
    control
        retry, cancel, compensate or rerun.
    kind
        Only operations of this kind.
    status
        Only operations with this status.
    tenant
        Only operations of this tenant: its id or subdomain.
    from_step
        For compensate and rerun: see there.
    """
    refused = 0

    async def records(client: TenantClient) -> AsyncGenerator[dict[str, Any]]:
        nonlocal refused
        target = None if tenant is None else await tenant_of(client, tenant)
        asked = client.control_operations(
            control, kind=kind, status=status, tenant_id=target, from_step=from_step
        )
        async for each in asked:
            refused += each.status != "completed"
            yield msgspec.to_builtins(each)

    async with connected(common) as client:
        await output.listed(
            records(client), CONTROLLED, as_json=common.as_json, limit=0, empty="No operation fits."
        )
    return REFUSED if refused else DONE
