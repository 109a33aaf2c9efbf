"""Termination: a tenant goes out of service, its data is handed over, and one day destroyed for good.

Until its purge begins, a cancellation brings all of it back. From then on there is no way back: what fails is
parked. It is never undone by itself before that either: a termination must not lapse unseen.

A plan change may still be at work when it begins: one that waited and is turned back, or one that removes its
backup. The purge waits for the end of it, so that nothing outlives the tenant.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sagas.definition import Deed, RetryPolicy, Saga, Scene, Step
from tenant_domain.decision import NewEvent, Ref
from tenant_domain.operation import decide as operation_decide
from tenant_domain.operation.state import Operation
from tenant_domain.subdomain import decide as subdomain
from tenant_domain.subdomain.commands import Release
from tenant_domain.subdomain.state import SubdomainClaim
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Status

_HOUR = 3600.0
"""Seconds for one attempt at what may have to move all that a tenant has; the next one goes on from there."""

_PATIENT = RetryPolicy(max_tries=200, cap=60.0)
"""For hours: a long reader of the database, as another tenant's export is, holds up the end of the bytes."""


def _reads(_: Operation, tenant: Tenant) -> Iterable[Ref]:
    change = _plan_change(tenant)
    return (subdomain.ref(tenant.subdomain), *(() if change is None else (change,)))


def _plan_change(tenant: Tenant) -> Ref | None:
    """Return the plan change that waits for its time, or else the last one that came about."""
    operation_id = tenant.changed_by if tenant.plan_change is None else tenant.plan_change.operation_id
    return None if operation_id is None else operation_decide.ref(operation_id)


def _is_changing_plan(scene: Scene) -> bool:
    change = _plan_change(scene.tenant)
    run = None if change is None else scene.world.get(change, Operation)
    return run is not None and not run.finished


def _held(scene: Scene) -> str | None:
    return tenant_decide.HELD if scene.tenant.legal_hold is not None else None


def _purge_at(operation: Operation) -> datetime:
    return datetime.fromisoformat(str(operation.input["purge_at"]))


def _purge_started(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(*tenant_decide.purge_started(scene.tenant, scene.operation.operation_id))


def _released(scene: Scene) -> tuple[NewEvent, ...]:
    """The name is free again; that of a tenant whose provisioning failed has long been."""
    label, tenant_id = scene.tenant.subdomain, scene.operation.tenant_id
    claim = scene.world.get(subdomain.ref(label), SubdomainClaim)
    return subdomain.release(claim, Release(label, tenant_id))


def _purged(scene: Scene) -> tuple[NewEvent, ...]:
    """The end, with the certificate that the step issued; nothing while it has issued none."""
    issued = scene.operation.step("secure_deletion").output
    if not issued:
        return ()
    fact = tenant_decide.purged(
        scene.operation.operation_id, str(issued["certificate_id"]), str(issued["certificate_sha256"])
    )
    return scene.told(fact)


def _cancelled(scene: Scene) -> tuple[NewEvent, ...]:
    former = Status(str(scene.operation.input["former"]))
    return scene.told(tenant_decide.termination_cancelled(scene.operation.operation_id, former))


TERMINATION = Saga(
    kind="termination",
    reads=_reads,
    steps=(
        Step("suspend", outside=Deed("withdraw_access", undo="restore_access"), on_failure="park"),
        Step(
            "data_preservation",
            outside=Deed("preserve_data", undo="drop_export"),
            limit=_HOUR,
            on_failure="park",
        ),
        Step(
            "cleanup",
            outside=Deed("remove_belongings"),
            inside=Deed("purge_schema"),
            due=_purge_at,
            waits=_is_changing_plan,
            entry=_purge_started,
            facts=_released,
            limit=_HOUR,
            on_failure="park",
            heavy=True,
        ),
        Step(
            "secure_deletion",
            outside=Deed("delete_securely"),
            facts=_purged,
            retry=_PATIENT,
            limit=_HOUR,
            on_failure="park",
        ),
    ),
    undone=_cancelled,
    stop=_held,
)
