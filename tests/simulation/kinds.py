"""The sagas of a simulation: the service's own, made impatient, and one that has all that a saga may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from handlers.adapters.effects import Output
from sagas.definition import Deed, RetryPolicy, Saga, Scene, Step
from sagas.registry import SAGAS
from tenant_domain.decision import Command, Event, NewEvent
from tenant_domain.operation.state import Operation
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.commands import Admin, Provision, Resume, Suspend, Terminate, Upgrade
from tenant_domain.tenant.events import PlanChangeBegun, PurgeStarted
from tenant_domain.values import Status

_DAY = timedelta(days=1)
_IMPATIENT = RetryPolicy(max_tries=3, first=0.2, factor=2.0, cap=0.4)


def _in_a_while(run: Operation) -> datetime:
    return run.started_at + timedelta(seconds=1.5)


def _held_by_another(scene: Scene) -> bool:
    return scene.tenant.operation_id not in (None, scene.operation.operation_id)


def _take_hold(scene: Scene) -> tuple[NewEvent, ...]:
    run = scene.operation
    if scene.tenant.operation_id == run.operation_id:
        return ()
    return (_fact(run, PlanChangeBegun(operation_id=str(run.operation_id))),)


def _leave_no_way_back(scene: Scene) -> tuple[NewEvent, ...]:
    run = scene.operation
    if scene.tenant.status is Status.PURGING:
        return ()
    return (_fact(run, PurgeStarted(operation_id=str(run.operation_id))),)


def _arrived(scene: Scene) -> tuple[NewEvent, ...]:
    run = scene.operation
    return (_fact(run, tenant_decide.status_reverted(run.operation_id, Status.ACTIVE)),)


def _undone(scene: Scene) -> tuple[NewEvent, ...]:
    run = scene.operation
    if scene.tenant.operation_id != run.operation_id:
        return ()
    return (_fact(run, tenant_decide.operation_released(run.operation_id)),)


def _fact(run: Operation, event: Event) -> NewEvent:
    return NewEvent(tenant_decide.ref(run.tenant_id), event)


def _on_hold(scene: Scene) -> str | None:
    return scene.tenant.legal_hold and f"A hold forbids it: {scene.tenant.legal_hold}"


JOURNEY = Saga(
    kind="journey",
    steps=(
        Step("pack", inside=Deed("write_list", undo="strike_list")),
        Step(
            "depart",
            outside=Deed("leave_home", undo="come_home"),
            due=_in_a_while,
            waits=_held_by_another,
            entry=_take_hold,
        ),
        Step(
            "cross",
            outside=Deed("build_bridge", undo="tear_down_bridge"),
            inside=Deed("enter_bridge", undo="strike_bridge"),
            heavy=True,
            deadline=2.0,
        ),
        Step("burn", entry=_leave_no_way_back, outside=Deed("burn_bridge"), on_failure="park"),
        Step("settle", inside=Deed("write_letter"), facts=_arrived, on_failure="park"),
    ),
    undone=_undone,
    stop=_on_hold,
    deadline=40.0,
)
"""Waits for its time and for others, holds the tenant from its second step on, and has no way back later."""


class Beginning(NamedTuple):
    """How a run of the kind begins: after another beginning, with a command or by itself."""

    kind: str
    after: str | None = None
    command: Callable[[int], Command] | None = None


def _provision(tenant: int) -> Provision:
    return Provision(
        name=f"Tenant {tenant}",
        subdomain=f"tenant-{tenant}",
        plan="professional",
        admin=Admin(email="ada@acme.example", name="Ada Lovelace", user_id="ada"),
    )


def _suspend(_: int) -> Suspend:
    return Suspend(reason="unpaid")


def _resume(_: int) -> Resume:
    return Resume()


def _upgrade(_: int) -> Upgrade:
    return Upgrade(plan="enterprise")


def _terminate(tenant: int) -> Terminate:
    return Terminate(confirm_subdomain=f"tenant-{tenant}", retain_days=0)


def _retain(tenant: int) -> Terminate:
    return Terminate(confirm_subdomain=f"tenant-{tenant}", retain_days=30)


BEGINNINGS: Mapping[str, Beginning] = {
    "provisioning": Beginning("provisioning", None, _provision),
    "suspension": Beginning("suspension", "provisioning", _suspend),
    "resumption": Beginning("resumption", "suspension", _resume),
    "upgrade": Beginning("upgrade", "provisioning", _upgrade),
    "termination": Beginning("termination", "provisioning", _terminate),
    "retention": Beginning("termination", "provisioning", _retain),
    "journey": Beginning("journey", "provisioning"),
}
"""All that a schedule may begin with. A retention is a termination that waits for its time."""

OUTPUTS: Mapping[str, Output] = {
    "delete_securely": {"certificate_id": str(UUID(int=0xCE)), "certificate_sha256": "00" * 32},
}
"""What effects give back that later steps need, by their names."""


def _hurried(due: Callable[[Operation], datetime | None]) -> Callable[[Operation], datetime | None]:
    """Let the days until a due time be twentieths of a second, so that nobody looks for millions of times."""

    def sooner(run: Operation) -> datetime | None:
        when = due(run)
        if when is None or when - run.started_at < _DAY:
            return when
        return run.started_at + (when - run.started_at) / (20 * _DAY.total_seconds())

    return sooner


def _impatient(saga: Saga) -> Saga:
    steps = (step._replace(retry=_IMPATIENT, limit=1.0, due=_hurried(step.due)) for step in saga.steps)
    return saga._replace(steps=tuple(steps))


KINDS: dict[str, Saga] = {kind: _impatient(saga) for kind, saga in {**SAGAS, "journey": JOURNEY}.items()}
"""The sagas by kind; their steps give up soon, so that nobody has to wait."""


class Part(NamedTuple):
    """A deed as a part of a step, and the `thing` that is as the deed or its undoing left it last."""

    step: str
    thing: str
    deed: Deed
    inside: bool


def _parts(saga: Saga) -> list[Part]:
    return [
        Part(step.name, min(deed.do, deed.undo or deed.do), deed, inside)
        for step in (*saga.steps, *saga.retired)
        for deed, inside in ((step.outside, False), (step.inside, True))
        if deed is not None
    ]


PARTS: Mapping[str, list[Part]] = {kind: _parts(saga) for kind, saga in KINDS.items()}
"""All that a saga does, by its kind."""

PART_OF: Mapping[tuple[str, str, bool], Part] = {
    (kind, name, part.inside): part
    for kind, parts in PARTS.items()
    for part in reversed(parts)
    for name in part.deed
    if name is not None
}
"""The same by kind, name of the deed or of its undoing, and whether it is inside the database."""

TENANTS = tuple(UUID(int=0x7000 + number) for number in range(3))
