"""The journal of a run: which events follow from what happened to a step. Pure: times and chance come in.

`advance` goes on by itself over everything that needs no effect (checks, steps that only record, the end of
the run), so that the events of it stand in the same append as the effect before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sagas.definition import Action, Finish, Park, Rest, Run, Saga, Scene, Step, Undo, next_action
from tenant_domain.decision import Event, NewEvent
from tenant_domain.operation import decide as operation
from tenant_domain.operation.events import (
    CompensationStarted,
    OperationParked,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepStarted,
)
from tenant_domain.operation.state import Operation
from tenant_domain.refusals import Refusal
from tenant_domain.tenant import decide as tenant
from tenant_domain.values import Json

MAX_ERROR = 500
"""Longest error that is kept (characters): a sentence, not a dump."""


WAIT = timedelta(seconds=1)
"""How long a step that has to wait for somebody is left alone before it is looked at again."""


class Failure(NamedTuple):
    """Why an attempt failed, in a sentence without secrets or personal data; `permanent`: never again."""

    error: str
    permanent: bool = False


class Moved(NamedTuple):
    """What is to be appended, the scene after it, what comes next, and until when that has to wait."""

    events: tuple[NewEvent, ...]
    scene: Scene
    action: Action
    waits_until: datetime | None = None


def advance(saga: Saga, scene: Scene, now: datetime) -> Moved:
    """Go on until an effect is needed, a wait, or nothing.

    A step with a part outside comes back as `Run` once the events announce it.
    """
    events: tuple[NewEvent, ...] = ()
    while True:
        action = _next(saga, scene, now)
        more, ready = _by_itself(saga, scene, action, now)
        events += more
        scene = scene.after(more)
        if ready:
            return Moved(events, scene, action, _waits_until(action, now))


def go_on(saga: Saga, scene: Scene, events: tuple[NewEvent, ...], now: datetime) -> Moved:
    """Return what `events` lead to, and what follows from there by itself."""
    moved = advance(saga, scene.after(events), now)
    return moved._replace(events=events + moved.events)


def completed(
    scene: Scene, run: Run, started: datetime, now: datetime, output: Mapping[str, Json]
) -> tuple[NewEvent, ...]:
    """Return what follows when a step had its effect: its completion, and its facts about the tenant.

    The facts see the scene after the completion, so they may tell of the step's output.
    """
    done = _of(
        scene,
        StepCompleted(
            step=run.step.name, attempt=run.attempt, started_at=started, finished_at=now, output=dict(output)
        ),
    )
    return (done, *run.step.facts(scene.after((done,))))


def compensated(scene: Scene, undo: Undo, now: datetime) -> tuple[NewEvent, ...]:
    """Return what follows when a step is undone."""
    return (_of(scene, StepCompensated(step=undo.step.name, attempt=undo.attempt, finished_at=now)),)


def failed(
    scene: Scene, action: Run | Undo, failure: Failure, started: datetime, now: datetime, chance: float
) -> tuple[NewEvent, ...]:
    """Return what follows when an attempt failed: another one later, or the run turns back, or is parked."""
    step, undoing = action.step, isinstance(action, Undo)
    known = scene.operation.step(step.name)
    tries = known.tries + 1
    retry_at = now + step.retry.delay(tries, chance)
    late = step.deadline is not None and retry_at > _after(known.failing_since or started, step.deadline)
    last = failure.permanent or tries >= step.retry.max_tries or late
    event = StepFailed(
        step=step.name,
        attempt=action.attempt,
        error=failure.error[:MAX_ERROR],
        undoing=undoing,
        started_at=started,
        finished_at=now,
        retry_at=None if last else retry_at,
    )
    if not last:
        return (_of(scene, event),)
    what = f"Undoing the step {step.name!r}" if undoing else f"The step {step.name!r}"
    reason = f"{what} failed: {failure.error}"[:MAX_ERROR]
    if undoing:
        return _of(scene, event), parked(scene, step.name, reason)
    return _of(scene, event), _given_up(scene, step, reason)


def _given_up(scene: Scene, step: Step, reason: str) -> NewEvent:
    if step.on_failure == "park":
        return parked(scene, step.name, reason)
    return _of(scene, CompensationStarted(ending="rolled_back", reason=reason))


def parked(scene: Scene, step: str, reason: str) -> NewEvent:
    """Return the event that leaves the run to a person."""
    return _of(scene, OperationParked(step=step, reason=reason[:MAX_ERROR]))


def _next(saga: Saga, scene: Scene, now: datetime) -> Action:
    action = _in_reach(next_action(saga, scene.operation), scene.operation, now)
    if not isinstance(action, Run):
        return action
    if _waits_until(action, now) is None:
        return action._replace(not_before=now + WAIT) if action.step.waits(scene) else action
    return action._replace(not_before=_in_time(saga, scene.operation, action))


def _in_reach(action: Action, operation: Operation, now: datetime) -> Action:
    """Return the action without the wait for a try that is further away than any wait between two tries.

    The clock that said when was ahead, and has been put back.
    """
    if not isinstance(action, Run | Undo):
        return action
    retry_at = operation.step(action.step.name).retry_at
    if retry_at is None or retry_at <= now + action.step.retry.longest:
        return action
    return action._replace(not_before=action.step.due(operation) if isinstance(action, Run) else None)


def _in_time(saga: Saga, operation: Operation, run: Run) -> datetime | None:
    """Return when the next try is: at the run's deadline at the latest, since it turns back then."""
    due = run.step.due(operation)
    if run.not_before is None or run.not_before == due or (deadline := _deadline(saga, operation)) is None:
        return run.not_before
    return min(run.not_before, deadline)


def _deadline(saga: Saga, operation: Operation) -> datetime | None:
    if saga.deadline is None or operation.active_since is None:
        return None
    return _after(operation.active_since, saga.deadline)


def _after(begun: datetime, seconds: float) -> datetime:
    return begun + timedelta(seconds=seconds)


def _by_itself(saga: Saga, scene: Scene, action: Action, now: datetime) -> tuple[tuple[NewEvent, ...], bool]:
    match action:
        case Rest() | Undo():
            return (), True
        case Park(step, reason):
            return (parked(scene, step, reason),), False
        case Finish():
            return _ended(saga, scene, now), False
        case Run() if _waits_until(action, now) is not None:
            scheduled = _scheduled(scene, action)
            return scheduled, not scheduled
        case Run():
            return _entered(saga, scene, action, now)


def _scheduled(scene: Scene, run: Run) -> tuple[NewEvent, ...]:
    """Return the event that tells which time the step waits for; none where that is told already."""
    due = run.step.due(scene.operation)
    if due is None or due != run.not_before or scene.operation.step(run.step.name).due_at == due:
        return ()
    return (_of(scene, StepScheduled(step=run.step.name, due_at=due)),)


def _waits_until(action: Action, now: datetime) -> datetime | None:
    due = action.not_before if isinstance(action, Run | Undo) else None
    return due if due is not None and due > now else None


def _entered(saga: Saga, scene: Scene, run: Run, now: datetime) -> tuple[tuple[NewEvent, ...], bool]:
    step = run.step
    if (reason := saga.stop(scene)) is not None:
        return (parked(scene, step.name, reason),), False
    deadline = _deadline(saga, scene.operation)
    if deadline is not None and now >= deadline:
        return (_given_up(scene, step, f"The run did not end within {saga.deadline:g} seconds."),), False
    if entry := step.entry(scene):
        return entry, False
    refused = _checked(step, scene)
    if refused is not None:
        return failed(scene, run, refused, now, now, chance=0.5), False
    if step.outside is not None:
        return (_of(scene, StepStarted(step=step.name, attempt=run.attempt, started_at=now)),), True
    if step.inside is not None:
        return (), True
    return completed(scene, run, now, now, {}), False


def _checked(step: Step, scene: Scene) -> Failure | None:
    try:
        if step.check is not None:
            step.check(scene)
    except Refusal as refusal:
        return Failure(refusal.detail, permanent=True)
    except ValueError as error:
        return Failure(str(error), permanent=True)
    return None


def _ended(saga: Saga, scene: Scene, now: datetime) -> tuple[NewEvent, ...]:
    run = scene.operation
    end = _of(scene, operation.ended(run, now))
    if run.ending is None:
        return (end,)
    if run.repeats:  # the tenant stays as the run that is repeated left it
        released = tenant.operation_released(run.operation_id)
        return NewEvent(tenant.ref(run.tenant_id), released), end
    return (*saga.undone(scene), end)


def _of(scene: Scene, event: Event) -> NewEvent:
    return NewEvent(operation.ref(scene.operation.operation_id), event)
