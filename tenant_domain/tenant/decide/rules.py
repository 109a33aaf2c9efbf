"""What several decisions about a tenant ask of it, and how one of them begins an operation."""

from __future__ import annotations

from uuid import UUID

from tenant_domain.authorisation import require_authority
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.operation import decide as operation
from tenant_domain.refusals import InvalidCommand, InvalidTransition, OperationInProgress, QuotaExceeded
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Claim
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant.events import OperationReleased
from tenant_domain.tenant.state import Tenant, living
from tenant_domain.values import Json, Status, json_size


def ref(tenant_id: UUID) -> Ref:
    """Return the stream of a tenant."""
    return Ref("tenant", tenant_id)


def living_tenant(world: World, ctx: Context) -> Tenant:
    """Return the tenant that the command is about; raises TenantNotFound, TenantGone."""
    return living(world.get(ref(ctx.tenant_id), Tenant), ctx.tenant_id)


def require_free(tenant: Tenant) -> None:
    """Refuse (OperationInProgress) while an operation holds the tenant."""
    if tenant.operation_id is not None:
        detail = f"The operation {tenant.operation_id} holds the tenant; wait for its end, or cancel it."
        raise OperationInProgress(detail, operation_id=str(tenant.operation_id))


def require_status(tenant: Tenant, command: str, *allowed: Status) -> None:
    """Refuse (InvalidTransition) a tenant in any other status than those `allowed`."""
    if tenant.status not in allowed:
        names = " or ".join(status.value for status in allowed)
        detail = f"{command} needs a tenant that is {names}; it is {tenant.status.value}."
        raise InvalidTransition(detail, **{"from": tenant.status.value, "command": command})


def require_own_suspension(tenant: Tenant, command: str, ctx: Context) -> None:
    """Refuse (Forbidden) the tenant's own people while it is suspended in another name than theirs."""
    if tenant.status is Status.SUSPENDED:
        by, why = tenant.suspended_by, tenant.suspension_reason
        require_authority(command, ctx.authority, by, why, done="suspended the tenant")


def check_offer(plan: str, region: str, label: str, policy: Policy) -> None:
    """Refuse a plan that is not on sale, a region that is not served, a subdomain that is reserved.

    Raises InvalidCommand naming the field.
    """
    check_plan(plan, policy)
    if region not in policy.regions:
        raise InvalidCommand.of("region", f"must be a region that is served: {', '.join(policy.regions)}")
    check_reserved(label, policy)


def check_plan(plan: str, policy: Policy) -> None:
    """Refuse (InvalidCommand) a plan that is not on sale."""
    offered = policy.plans.get(plan)
    if offered is None or not offered.on_sale:
        on_sale = ", ".join(name for name, each in policy.plans.items() if each.on_sale)
        raise InvalidCommand.of("plan", f"must be a plan on sale: {on_sale}")


def check_reserved(label: str, policy: Policy) -> None:
    """Refuse (InvalidCommand) a subdomain that the service keeps for itself."""
    if label in policy.reserved_subdomains:
        raise InvalidCommand.of("subdomain", f"{label!r} is reserved; choose another")


def check_settings(settings: dict[str, Json], policy: Policy) -> None:
    """Refuse (QuotaExceeded) settings of a tenant's own that are larger than the policy allows."""
    used = json_size(settings)
    if used > policy.settings_bytes:
        detail = f"A tenant's settings may have {policy.settings_bytes} bytes as JSON; these have {used}."
        raise QuotaExceeded(detail, resource="settings", limit=policy.settings_bytes, used=used)


def claim(label: str, world: World, ctx: Context) -> tuple[NewEvent, ...]:
    """Claim a subdomain for the tenant; raises SubdomainTaken when another one holds it."""
    return subdomain.claim(world.get(subdomain.ref(label), SubdomainClaim), Claim(label, ctx.tenant_id))


def begin_operation(
    event: Event,
    kind: str,
    steps: tuple[str, ...],
    ctx: Context,
    besides: tuple[NewEvent, ...] = (),
    payload: dict[str, Json] | None = None,
) -> Decision:
    """Decide on `event` about the tenant, and on a run of the saga `kind` that goes on with it.

    `besides` are events of other streams, which stand between the two; `payload` is the run's input.
    """
    started = operation.start(ctx.operation_id, ctx.tenant_id, kind, steps, payload or {}, ctx.now)
    return Decision((NewEvent(ref(ctx.tenant_id), event), *besides, started), operation_id=ctx.operation_id)


def operation_released(operation_id: UUID) -> Event:
    """Return the fact that an operation which repeated something lets the tenant go as it is."""
    return OperationReleased(operation_id=str(operation_id))
