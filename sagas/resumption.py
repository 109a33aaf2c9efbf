"""Resumption: a tenant that was put back into service gets its access again."""

from __future__ import annotations

from sagas.definition import Deed, Saga, Scene, Step
from tenant_domain.decision import NewEvent
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.values import Status


def _opened(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(tenant_decide.access_opened(scene.operation.operation_id))


def _undone(scene: Scene) -> tuple[NewEvent, ...]:
    return scene.told(tenant_decide.status_reverted(scene.operation.operation_id, Status.SUSPENDED))


RESUMPTION = Saga(
    kind="resumption",
    steps=(Step("open_access", outside=Deed("open_access", undo="close_access"), facts=_opened),),
    undone=_undone,
)
