"""Upgrade: a tenant moves to another plan, up or down, or stays what it was.

The plan is checked when it is asked for, and again when its time has come; only then the tenant is held.
What verification finds is recorded, and `rollback_if_needed` turns the run back for it. Where it found
nothing, the plan has changed from the moment that this step begins: the backup goes, there is no way back.
"""

from __future__ import annotations

from datetime import datetime

from sagas.definition import Deed, RetryPolicy, Saga, Scene, Step
from sagas.journal import MAX_ERROR
from tenant_domain.decision import NewEvent
from tenant_domain.operation import decide as operation_decide
from tenant_domain.operation.state import Operation
from tenant_domain.tenant import decide as tenant_decide

_PATIENT = RetryPolicy(max_tries=500, cap=600.0)
"""For days: nobody waits for the removal of a backup that is not needed any more."""


def _plan(scene: Scene) -> str:
    return str(scene.operation.input["plan"])


def _due(operation: Operation) -> datetime:
    return datetime.fromisoformat(str(operation.input["effective_at"]))


def _on_sale(scene: Scene) -> None:
    tenant_decide.check_plan(_plan(scene), scene.policy)


def _held_by_another(scene: Scene) -> bool:
    return scene.tenant.operation_id not in (None, scene.operation.operation_id)


def _begun(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(*tenant_decide.plan_change_begun(scene.tenant, scene.operation.operation_id))


def _differences(scene: Scene) -> str:
    found: list[str] = scene.operation.step("verify").output.get("differences", [])
    return "; ".join(found)


def _changed(scene: Scene) -> tuple[NewEvent, ...]:
    operation = scene.operation
    if _differences(scene) or not tenant_decide.is_changing_plan(scene.tenant, operation.operation_id):
        return ()
    fact = tenant_decide.plan_changed(scene.tenant, operation.operation_id, _plan(scene), scene.policy)
    return scene.told(fact)


def _turned_back(scene: Scene) -> tuple[NewEvent, ...]:
    found = _differences(scene)
    if not found:
        return ()
    reason = f"The tenant differs from its new plan: {found}"[:MAX_ERROR]
    return operation_decide.turn_back(scene.operation, "rolled_back", reason)


def _undone(scene: Scene) -> tuple[NewEvent, ...]:
    operation = scene.operation
    fact = tenant_decide.plan_change_rolled_back(
        scene.tenant, operation.operation_id, _plan(scene), operation.reason or ""
    )
    return scene.told(fact)


UPGRADE = Saga(
    kind="upgrade",
    steps=(
        Step("validate_upgrade", check=_on_sale, inside=Deed("check_plan_fits")),
        Step(
            "backup_state",
            check=_on_sale,
            outside=Deed("keep_backup", undo="drop_backup"),
            due=_due,
            waits=_held_by_another,
            entry=_begun,
        ),
        Step("apply_changes", inside=Deed("apply_plan", undo="restore_backup"), heavy=True),
        Step("verify", inside=Deed("verify_plan"), heavy=True),
        Step(
            "rollback_if_needed",
            outside=Deed("release_backup"),
            entry=_changed,
            facts=_turned_back,
            retry=_PATIENT,
            on_failure="park",
        ),
    ),
    undone=_undone,
)
