"""The driver takes one run from step to step, until it ends, waits or is parked.

It keeps nothing that is not in the store: after any trouble it reads the run again and goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from handlers import tracing
from handlers.adapters.effects import Effects, Output, Work
from handlers.execution.versions import Outdated, fact_key
from handlers.saga_runner.agenda import Due
from handlers.saga_runner.failures import EffectRaised, Overtaken, described, place
from handlers.saga_runner.lane import Entry, Inside, Lane
from handlers.saga_runner.late import Late
from handlers.saga_runner.news import Tell
from handlers.saga_runner.run import RunState, Sagas, UnknownKind, load, unknown_steps
from handlers.saga_runner.shelf import shelve
from handlers.saga_runner.spans import stepping
from handlers.saga_runner.turns import Turns
from handlers.store.errors import StoreError, StoreUnavailable, is_away, is_outage
from handlers.store.event_store import EventStore
from handlers.wire.events import UnknownEvent
from sagas.definition import Deed, Rest, RetryPolicy, Run, Undo
from sagas.journal import Moved, advance, compensated, completed, failed, go_on
from tenant_domain.catalogue import Policy
from tenant_domain.decision import Event
from tenant_domain.operation import decide as operation_decide

log = structlog.get_logger()

_TROUBLE = RetryPolicy(first=0.1, cap=2.0, jitter=0.5)
"""How long to wait for a store that is not there: a run goes on soon after it is back."""


Held: TypeAlias = Callable[[], Awaitable[None]]
Owns: TypeAlias = Callable[[UUID], Awaitable[bool]]
IsNewer: TypeAlias = Callable[[Outdated], Awaitable[bool]]


class Parts(NamedTuple):
    """What a driver works with.

    `turns` bounds the runs at a step. `held` waits until the worker's lease holds, `owns` says whether a run
    is still held under it, `is_newer` whether a newer version lives that knows something. `look` is how often
    a long effect outside looks whether somebody overtook the run (seconds). `now` and `chance` (0–1) come in
    so that tests can set them.
    """

    store: EventStore
    quick: Lane
    heavy: Lane
    effects: Effects
    sagas: Sagas
    policy: Policy
    tell: Tell
    held: Held
    owns: Owns
    is_newer: IsNewer
    turns: Turns
    now: Callable[[], datetime]
    chance: Callable[[], float]
    look: float


class Driver:
    """Drives the runs that the worker `owner` took; `stopping` tells it to leave each at its next step."""

    def __init__(self, parts: Parts, owner: UUID, stopping: Callable[[], bool]) -> None:
        self._parts, self._owner, self._stopping = parts, owner, stopping
        self._late = Late(parts.store, parts.effects, parts.chance, stopping)

    async def load(self, dues: list[Due]) -> dict[UUID, RunState]:
        """Return the state of each run; see `run.load`."""
        return await load(self._parts.store, dues, self._owner, self._parts.sagas, self._parts.policy)

    async def drive(self, due: Due, run: RunState | None) -> datetime | None:
        """Go on with a run until there is nothing to do now; returns until when it waits.

        `run` is its state, where that was loaded already. Raises Outdated for a run that a newer version
        knows how to go on with, and this one does not.
        """
        trouble: Exception | None = None
        tries, overtaken = 0, False
        while True:
            try:
                if overtaken and not await self._parts.owns(due.operation_id):
                    return None
                overtaken = False
                if trouble is None:
                    return await self._follow(run or (await self.load([due]))[due.operation_id])
                await self._leave_to_newer(_not_known(trouble))
                await self._shelve(due, trouble)
                return None
            except Outdated:
                raise
            except Overtaken:
                trouble, tries, overtaken = None, 0, True
            except Exception as error:  # noqa: BLE001 - whatever it is, the run is not lost
                if is_outage(error):
                    tries += 1
                    await self._wait_for_store(due, tries, error)
                else:
                    log.error("run in trouble", **_names(due), error=type(error).__name__, where=place(error))
                    trouble = error
            run = None

    async def _leave_to_newer(self, newer: Outdated) -> None:
        if (newer.facts or newer.steps) and await self._parts.is_newer(newer):
            raise newer

    async def _wait_for_store(self, due: Due, tries: int, error: Exception) -> None:
        delay = _TROUBLE.delay(tries, self._parts.chance()).total_seconds()
        log.warning(
            "run waits for the store", **_names(due), error=type(error).__name__, seconds=round(delay, 2)
        )
        await asyncio.sleep(delay)

    async def _shelve(self, due: Due, trouble: Exception) -> None:
        shelved = await shelve(self._parts.store, due, self._owner, trouble)
        if shelved is None:
            raise Overtaken
        await self._parts.tell(shelved[0], [shelved[1]])

    async def _follow(self, run: RunState) -> datetime | None:
        parts = self._parts
        await self._leave_to_newer(Outdated(steps=unknown_steps(run)))
        moved = advance(run.saga, run.scene, parts.now())
        if moved.events or moved.waits_until is not None or isinstance(moved.action, Rest):
            moved = await parts.quick.commit(Entry(run, partial(_as_it_is, moved)))
        while isinstance(moved.action, Run | Undo) and moved.waits_until is None and not self._stopping():
            async with parts.turns.at(moved.action.step.name) as waited:
                if waited and await self._overtaken(run):
                    raise Overtaken
                with stepping(run, moved.action):
                    moved = await self._attempt(run, moved.action)
        return moved.waits_until

    async def _attempt(self, run: RunState, action: Run | Undo) -> Moved:
        """Do or undo a step; nothing of it stays where somebody else has undone it meanwhile."""
        try:
            return await self._act(run, action)
        except (Exception, asyncio.CancelledError):
            await self._late.take_back(run, action, _work(run, action))
            raise

    async def _act(self, run: RunState, action: Run | Undo) -> Moved:
        """Do or undo a step: its part outside, then its part inside together with what is recorded of it."""
        parts, step = self._parts, action.step
        started = parts.now()
        try:
            output = await self._outside(run, action)
            inside = self._inside(run, action)
            lane = parts.heavy if step.heavy and inside else parts.quick
            follow = partial(self._done, run, action, started, output)
            alone = run.scene.operation.step(step.name).tries > 0
            then = partial(self._later, run)
            return await lane.commit(Entry(run, follow, inside, step.limit, alone, step.blind, then))
        except EffectRaised as raised:
            cause = raised.cause
            if is_away(cause):  # that was no attempt: nothing is recorded, and no try is used up
                raise StoreUnavailable(type(cause).__name__) from cause
            if isinstance(raised.action, Run | Undo):
                action, started = raised.action, parts.now()
        failure = described(cause)
        tracing.failed(tracing.present(), type(cause).__name__)
        names = {"tenant_id": str(run.tenant_id), "operation_id": str(run.operation_id)}
        log.warning("step failed", **names, step=action.step.name, error=failure.error, where=place(cause))
        events = failed(run.scene, action, failure, started, parts.now(), parts.chance())
        moved = go_on(run.saga, run.scene, events, parts.now())
        return await parts.quick.commit(Entry(run, partial(_as_it_is, moved)))

    def _later(self, run: RunState, moved: Moved) -> Entry | None:
        """Return the next step where all that it needs is a quick effect inside the database, and no turn."""
        action = moved.action
        if self._stopping() or moved.waits_until is not None or not isinstance(action, Run | Undo):
            return None
        step, run = action.step, replace(run, scene=moved.scene)
        inside = self._inside(run, action)
        if inside is None or step.outside is not None or step.heavy or self._parts.turns.bounds(step.name):
            return None
        follow = partial(self._done, run, action, self._parts.now(), {})

        async def act(connection: AsyncConnection[Any]) -> Output | None:
            with stepping(run, action):
                return await inside(connection)

        return Entry(run, follow, act, step.limit, blind=step.blind)

    def _done(
        self, run: RunState, action: Run | Undo, started: datetime, outside: Output, inside: Output
    ) -> Moved:
        now, scene = self._parts.now(), run.scene
        if isinstance(action, Undo):
            return go_on(run.saga, scene, compensated(scene, action, now), now)
        events = completed(scene, action, started, now, {**outside, **inside})
        return go_on(run.saga, scene, events, now)

    def _inside(self, run: RunState, action: Run | Undo) -> Inside | None:
        name = _deed(action, action.step.inside)
        if name is None:
            return None
        effect, work = self._parts.effects[name], _work(run, action)

        async def act(connection: AsyncConnection[Any]) -> Output | None:
            return await effect(work._replace(connection=connection))

        return act

    async def _outside(self, run: RunState, action: Run | Undo) -> Output:
        name = _deed(action, action.step.outside)
        if name is None:
            return {}
        effect, work = self._parts.effects[name], _work(run, action)
        await self._parts.held()
        acting = asyncio.ensure_future(effect(work))
        try:
            async with asyncio.timeout(action.step.limit):
                while not (await asyncio.wait({acting}, timeout=self._parts.look))[0]:
                    if await self._overtaken(run):
                        raise Overtaken
            return await acting or {}
        except Overtaken:
            raise
        except Exception as error:
            raise EffectRaised(error) from error
        finally:
            await _ended(acting)

    async def _overtaken(self, run: RunState) -> bool:
        ref = operation_decide.ref(run.operation_id)
        try:
            loaded = await self._parts.store.load([ref])
        except StoreError:
            return False
        return loaded[ref.stream].version != run.versions[ref.stream]


def _not_known(trouble: Exception) -> Outdated:
    """Return what this version does not know of a run, so that it has trouble with it."""
    match trouble:
        case UnknownKind():
            return Outdated(steps=[trouble.kind])
        case UnknownEvent():
            return Outdated(facts=[fact_key(trouble.name, trouble.version)])
        case _:
            return Outdated()


def _as_it_is(moved: Moved, _: Output) -> Moved:
    return moved


async def _ended(acting: asyncio.Future[Any]) -> None:
    """Cancel an effect, and wait until it is over: nothing of it may happen after what comes next."""
    if not acting.done():
        acting.cancel()
        await asyncio.wait({acting})
        if not acting.cancelled():
            acting.exception()  # looked at, so that nobody is warned of it


def _deed(action: Run | Undo, deed: Deed | None) -> str | None:
    if deed is None:
        return None
    return deed.do if isinstance(action, Run) else deed.undo


def _work(run: RunState, action: Run | Undo) -> Work:
    scene = run.scene
    facts: tuple[Event, ...] = ()
    if isinstance(action, Run):
        facts = tuple(event for _, event in action.step.facts(scene))
    return Work(run.tenant_id, scene.tenant, scene.operation, facts, scene.policy)


def _names(due: Due) -> dict[str, str]:
    return {"tenant_id": str(due.tenant_id), "operation_id": str(due.operation_id), "kind": due.kind}
