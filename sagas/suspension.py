"""Suspension: a tenant that was taken out of service loses all access.

It is parked when access cannot be closed, never undone by itself: a suspension must not lapse unseen.
"""

from __future__ import annotations

from sagas.definition import Deed, Saga, Scene, Step
from tenant_domain.decision import NewEvent
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.values import Status


def _closed(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(tenant_decide.access_closed(scene.operation.operation_id))


def _undone(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(tenant_decide.status_reverted(scene.operation.operation_id, Status.ACTIVE))


SUSPENSION = Saga(
    kind="suspension",
    steps=(
        Step(
            "close_access",
            outside=Deed("close_access", undo="open_access"),
            facts=_closed,
            on_failure="park",
        ),
    ),
    undone=_undone,
)
