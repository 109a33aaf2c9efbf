"""Provisioning: a tenant comes to life, or nothing of it is left but its history."""

from __future__ import annotations

from collections.abc import Iterable

from sagas.definition import Deed, Saga, Scene, Step
from tenant_domain.decision import NewEvent, Ref
from tenant_domain.membership import decide as membership
from tenant_domain.membership.commands import EstablishOwner
from tenant_domain.membership.state import Membership
from tenant_domain.operation.state import Operation
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import checked_name


def _owner(operation: Operation, tenant: Tenant) -> Ref:
    return membership.owner_ref(operation.tenant_id, operation.operation_id, tenant.admin.user_id)


def _reads(operation: Operation, tenant: Tenant) -> Iterable[Ref]:
    return subdomain.ref(tenant.subdomain), _owner(operation, tenant)


def _valid(scene: Scene) -> None:
    tenant = scene.tenant
    tenant_decide.check_offer(tenant.plan, tenant.region, tenant.subdomain, scene.policy)
    checked_name(tenant.name)
    claim = scene.world.get(subdomain.ref(tenant.subdomain), SubdomainClaim)
    if claim is None or claim.holder != scene.operation.tenant_id:
        raise ValueError(f"the tenant does not hold the subdomain {tenant.subdomain!r}")


def _defaults(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(*tenant_decide.defaults_of(scene.tenant, scene.operation.operation_id, scene.policy))


def _admin(scene: Scene) -> tuple[NewEvent, ...]:
    operation, admin = scene.operation, scene.tenant.admin
    known = scene.world.get(_owner(operation, scene.tenant), Membership)
    command = EstablishOwner(
        operation.tenant_id, operation.operation_id, admin.email, admin.name, admin.user_id
    )
    return membership.establish_owner(known, command)


def _activated(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(tenant_decide.activated(scene.operation.operation_id))


def _undone(scene: Scene) -> tuple[NewEvent, ...]:
    operation, tenant = scene.operation, scene.tenant
    owner = _owner(operation, tenant)
    claim = scene.world.get(subdomain.ref(tenant.subdomain), SubdomainClaim)
    return (
        *membership.withdraw_owner(scene.world.get(owner, Membership), owner),
        *tenant_decide.provisioning_failed(
            operation.tenant_id, tenant, claim, operation.operation_id, operation.reason or ""
        ),
    )


PROVISIONING = Saga(
    kind="provisioning",
    reads=_reads,
    steps=(
        Step("validate", check=_valid),
        Step(
            "create_schema",
            outside=Deed("create_bucket", undo="remove_bucket"),
            inside=Deed("create_schema", undo="drop_schema"),
            heavy=True,
        ),
        Step("configure_defaults", inside=Deed("write_defaults"), facts=_defaults, blind=True),
        Step("setup_admin", inside=Deed("write_admin"), facts=_admin, blind=True),
        Step("notify", outside=Deed("send_ready_notice")),
        Step("activate", facts=_activated),
    ),
    undone=_undone,
)
