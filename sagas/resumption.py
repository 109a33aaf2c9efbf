"""Resumption: a tenant that was put back into service gets its access again."""

from __future__ import annotations

from sagas.definition import Deed, Saga, Scene, Step
from tenant_domain.decision import NewEvent
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.values import Status


def _opened(scene: Scene) -> tuple[NewEvent, ...]:
    fact = tenant_decide.access_opened(scene.operation.operation_id)
    return (NewEvent(tenant_decide.ref(scene.operation.tenant_id), fact),)


def _undone(scene: Scene) -> tuple[NewEvent, ...]:
    fact = tenant_decide.status_reverted(scene.operation.operation_id, Status.SUSPENDED)
    return (NewEvent(tenant_decide.ref(scene.operation.tenant_id), fact),)


RESUMPTION = Saga(
    kind="resumption",
    steps=(Step("open_access", outside=Deed("open_access", undo="close_access"), facts=_opened),),
    undone=_undone,
)
