"""Decisions about a tenant's end, and about the legal hold that forbids it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from tenant_domain.authorisation import require_authority
from tenant_domain.decision import UNCHANGED, Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.operation import decide as operation
from tenant_domain.operation.state import Operation
from tenant_domain.refusals import InvalidCommand, LegalHold
from tenant_domain.tenant.commands import CancelTermination, PlaceLegalHold, ReleaseLegalHold, Terminate
from tenant_domain.tenant.decide.rules import (
    begin_operation,
    living_tenant,
    ref,
    require_free,
    require_own_suspension,
    require_status,
)
from tenant_domain.tenant.events import (
    LegalHoldPlaced,
    LegalHoldReleased,
    Purged,
    PurgeStarted,
    TerminationCancelled,
    TerminationScheduled,
)
from tenant_domain.tenant.state import Tenant, Termination
from tenant_domain.values import Status

TERMINATION = ("suspend", "data_preservation", "cleanup", "secure_deletion")

HELD = "A legal hold forbids to go on."
"""Why a termination is parked that a hold stops; the hold's own reason stands in the tenant."""


def terminate(command: Terminate, world: World, ctx: Context) -> Decision:
    """Take the tenant out of service for good, and schedule the purge of its data.

    Raises Forbidden when the tenant's own people ask for it while it is suspended in another name.
    """
    tenant = living_tenant(world, ctx)
    require_own_suspension(tenant, command.name_, ctx)
    require_free(tenant)
    require_status(tenant, command.name_, Status.ACTIVE, Status.SUSPENDED, Status.FAILED)
    if command.confirm_subdomain != tenant.subdomain:
        raise InvalidCommand.of("confirm_subdomain", "must be the tenant's subdomain, to confirm its end")
    if tenant.legal_hold is not None:
        # Its reason may name a person, and a refusal is recorded.
        raise LegalHold(
            "A legal hold forbids it; its reason stands in the tenant's history. release_legal_hold ends it."
        )
    purge_at = ctx.now + timedelta(days=command.retain_days)
    scheduled = TerminationScheduled(
        operation_id=str(ctx.operation_id), reason=command.reason, purge_at=purge_at, by=ctx.authority
    )
    waiting = _waiting_change(tenant, world)
    undone = () if waiting is None else operation.turn_back(waiting, "cancelled", "The tenant is terminated.")
    payload = {"purge_at": purge_at.isoformat(), "former": tenant.status.value}
    return begin_operation(scheduled, "termination", TERMINATION, ctx, undone, payload)


def cancel_termination(command: CancelTermination, world: World, ctx: Context) -> Decision:
    """Undo a termination whose purge has not begun; its operation brings the tenant back.

    Raises Forbidden when the tenant's own people ask, and did not begin it themselves.
    """
    tenant = living_tenant(world, ctx)
    ending = tenant.termination
    if ending is not None:
        done = "began the termination"
        require_authority(command.name_, ctx.authority, ending.by, ending.reason, done=done)
    require_status(tenant, command.name_, Status.PENDING_DELETION)
    run = _termination(tenant, world)
    undone = operation.turn_back(run, "cancelled", "The termination was cancelled.")
    return (Decision(undone) if undone else UNCHANGED)._replace(operation_id=run.operation_id)


def place_legal_hold(command: PlaceLegalHold, world: World, ctx: Context) -> Decision:
    """Forbid the destruction of the tenant's data; a termination stops where it is."""
    tenant = living_tenant(world, ctx)
    if tenant.legal_hold == command.reason:
        return UNCHANGED
    placed = NewEvent(ref(ctx.tenant_id), LegalHoldPlaced(reason=command.reason))
    if tenant.termination is None:
        return Decision((placed,))
    run = _termination(tenant, world)
    return Decision((placed, *operation.hold(run, HELD)))


def release_legal_hold(_command: ReleaseLegalHold, world: World, ctx: Context) -> Decision:
    """Let the tenant's data be destroyed again; a termination that the hold stopped goes on."""
    tenant = living_tenant(world, ctx)
    if tenant.legal_hold is None:
        return UNCHANGED
    released = NewEvent(ref(ctx.tenant_id), LegalHoldReleased())
    if tenant.termination is None:
        return Decision((released,))
    run = _termination(tenant, world)
    resumed = operation.release(run, HELD, ctx.now)
    return Decision((released, *resumed), operation_id=run.operation_id if resumed else None)


def held_run_streams(_tenant_id: UUID, _command: object, tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams of the runs that a termination, or a hold on it, has to do with."""
    if tenant is not None and tenant.termination is not None:
        yield operation.ref(tenant.termination.operation_id)
    if tenant is not None and tenant.plan_change is not None:
        yield operation.ref(tenant.plan_change.operation_id)


def termination_cancelled(operation_id: UUID, former: Status) -> Event:
    """Return the fact that a termination was undone, back to the status before it."""
    return TerminationCancelled(operation_id=str(operation_id), status=former.value)


def purge_started(tenant: Tenant, operation_id: UUID) -> tuple[Event, ...]:
    """Return the fact that there is no way back any more; none where it is known already."""
    return () if tenant.status is Status.PURGING else (PurgeStarted(operation_id=str(operation_id)),)


def purged(operation_id: UUID, certificate_id: str, certificate_sha256: str) -> Event:
    """Return the fact that the tenant's data is destroyed."""
    return Purged(
        operation_id=str(operation_id), certificate_id=certificate_id, certificate_sha256=certificate_sha256
    )


def _waiting_change(tenant: Tenant, world: World) -> Operation | None:
    change = tenant.plan_change
    return None if change is None else world.get(operation.ref(change.operation_id), Operation)


def _termination(tenant: Tenant, world: World) -> Operation:
    assert isinstance(tenant.termination, Termination)
    run = world.get(operation.ref(tenant.termination.operation_id), Operation)
    assert run is not None
    return run
