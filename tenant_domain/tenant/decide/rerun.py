"""The decision to run one of the tenant's former operations again, as a new run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from tenant_domain.decision import Context, Decision, Event, NewEvent, Ref, World
from tenant_domain.operation import decide as operation
from tenant_domain.operation.commands import RerunOperation
from tenant_domain.operation.events import OperationStarted
from tenant_domain.operation.state import Operation, OperationStatus
from tenant_domain.refusals import InvalidCommand, InvalidTransition
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Claim
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant.commands import Upgrade
from tenant_domain.tenant.decide.operations import tenant_and_run
from tenant_domain.tenant.decide.plan_change import upgrade
from tenant_domain.tenant.decide.provisioning import PROVISIONING
from tenant_domain.tenant.decide.rules import check_offer, ref, require_free
from tenant_domain.tenant.events import OperationRepeated, ProvisioningRestarted
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Status


class Repeatable(NamedTuple):
    """The steps of a saga that do no harm when they are done again, and the tenant's status for that."""

    steps: tuple[str, ...]
    status: Status


REPEATABLE: Mapping[str, Repeatable] = {
    "provisioning": Repeatable(("configure_defaults", "setup_admin", "notify", "activate"), Status.ACTIVE),
    "suspension": Repeatable(("close_access",), Status.SUSPENDED),
    "resumption": Repeatable(("open_access",), Status.ACTIVE),
}


def rerun_operation(command: RerunOperation, world: World, ctx: Context) -> Decision:
    """Run an ended operation again.

    One that ended well does its steps again from `from_step` on, as far as those may be repeated; a
    provisioning or a plan change that was undone is begun anew.
    """
    tenant, former = tenant_and_run(command, world, ctx)
    if not former.finished:
        raise _impossible(former, command, "it has not ended; retry it")
    require_free(tenant)
    if former.status is OperationStatus.SUCCEEDED:
        return _repeat(command, former, tenant, ctx)
    if command.from_step not in (None, former.steps[0].name):
        raise InvalidCommand.of("from_step", f"must be {former.steps[0].name}: all of it was undone")
    return _anew(command, former, tenant, world, ctx)


def rerun_streams(_tenant_id: UUID, command: RerunOperation, tenant: Tenant | None) -> Iterator[Ref]:
    """Yield the streams read besides the tenant's: the former run's, and the subdomain's."""
    yield operation.ref(command.operation_id)
    if tenant is not None:
        yield subdomain.ref(tenant.subdomain)


def _repeat(command: RerunOperation, former: Operation, tenant: Tenant, ctx: Context) -> Decision:
    repeatable = REPEATABLE.get(former.kind)
    if repeatable is None:
        raise _impossible(former, command, f"nothing of a {former.kind} may be repeated")
    if tenant.status is not repeatable.status:
        raise _impossible(former, command, f"that needs a tenant that is {repeatable.status.value}")
    names = tuple(step.name for step in former.steps)
    first = command.from_step or names[0]
    if first not in repeatable.steps or first not in names:
        raise InvalidCommand.of("from_step", f"must be one of {', '.join(repeatable.steps)}")
    skipped = names[: names.index(first)]
    return _begun(OperationRepeated(operation_id=str(ctx.operation_id)), former, names, ctx, skipped=skipped)


def _anew(command: RerunOperation, former: Operation, tenant: Tenant, world: World, ctx: Context) -> Decision:
    if former.kind == "upgrade":
        plan = Upgrade(plan=former.input["plan"])
        return _marked(upgrade(plan, world, ctx), former)
    if former.kind != "provisioning" or tenant.status is not Status.FAILED:
        raise _impossible(former, command, "ask for what it was to do with a new command")
    check_offer(tenant.plan, tenant.region, tenant.subdomain, ctx.policy)
    held = world.get(subdomain.ref(tenant.subdomain), SubdomainClaim)
    claimed = subdomain.claim(held, Claim(tenant.subdomain, ctx.tenant_id))
    restarted = ProvisioningRestarted(operation_id=str(ctx.operation_id))
    return _begun(restarted, former, PROVISIONING, ctx, claimed)


def _begun(
    event: Event,
    former: Operation,
    steps: tuple[str, ...],
    ctx: Context,
    besides: tuple[NewEvent, ...] = (),
    skipped: tuple[str, ...] = (),
) -> Decision:
    started = operation.start(ctx.operation_id, ctx.tenant_id, former.kind, steps, former.input, ctx.now)
    events = (NewEvent(ref(ctx.tenant_id), event), *besides, started)
    return _marked(Decision(events, operation_id=ctx.operation_id), former, skipped)


def _marked(decision: Decision, former: Operation, skipped: tuple[str, ...] = ()) -> Decision:
    """Return the decision with its new run marked as another run of `former`."""
    of = str(former.operation_id)
    events = tuple(
        new._replace(event=replace(new.event, rerun_of=of, skipped=skipped or UNSET))
        if isinstance(new.event, OperationStarted)
        else new
        for new in decision.events
    )
    return decision._replace(events=events)


def _impossible(former: Operation, command: RerunOperation, why: str) -> InvalidTransition:
    detail = f"The operation is {former.status.value} and cannot be run again: {why}."
    return InvalidTransition(detail, **{"from": former.status.value, "command": command.name_})
