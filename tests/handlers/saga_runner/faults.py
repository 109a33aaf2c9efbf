"""Effects that fail, hang or kill at a chosen point, around the real ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from uuid import UUID

from handlers.adapters.effects import Effect, EffectFailed, Effects, Output, PermanentlyFailed, Work
from sagas.definition import Step
from sagas.registry import SAGAS

Act: TypeAlias = Callable[[Work], Awaitable[None]]


Point: TypeAlias = tuple[Literal["before", "after"], str]
"""Before or after the effect of a name."""


@dataclass
class Faults:
    """Wraps a table of effects. What is planned for a point happens there, one act at each call.

    A plan is for one tenant, or for whoever comes first. `calls` counts what was called for each tenant.
    """

    table: Effects
    plans: dict[tuple[UUID | None, Point], list[Act]] = field(
        default_factory=dict[tuple[UUID | None, Point], list[Act]]
    )
    calls: Counter[tuple[UUID, str]] = field(default_factory=Counter[tuple[UUID, str]])

    def effects(self) -> Mapping[str, Effect]:
        """Return the table with the faults in it."""
        return {name: self._around(name, effect) for name, effect in self.table.items()}

    def plan(self, point: Point, *acts: Act, tenant_id: UUID | None = None) -> None:
        """Plan acts for the next calls of an effect, one for each call."""
        self.plans.setdefault((tenant_id, point), []).extend(acts)

    def _around(self, name: str, effect: Effect) -> Effect:
        async def act(work: Work) -> Output | None:
            self.calls[work.tenant_id, name] += 1
            await self._next(("before", name), work)
            output = await effect(work)
            await self._next(("after", name), work)
            return output

        return act

    async def _next(self, point: Point, work: Work) -> None:
        for tenant_id in (work.tenant_id, None):
            acts = self.plans.get((tenant_id, point))
            if acts:
                await acts.pop(0)(work)
                return


def spared(work: Work, effect: str) -> bool:
    """Return whether the step of `effect` has not been recorded as failed.

    An effect inside the database may be called more than once for one failure: first with others, then alone.
    """
    steps = [step for step in SAGAS[work.operation.kind].steps if effect in _names(step)]
    return all(work.operation.step(step.name).error is None for step in steps)


def _names(step: Step) -> set[str | None]:
    deeds = [deed for deed in (step.outside, step.inside) if deed is not None]
    return {name for deed in deeds for name in deed}


async def fail(_: Work) -> None:
    """Fail."""
    raise EffectFailed("The world was against it.")


async def fail_for_good(_: Work) -> None:
    """Fail in a way that need not be tried again."""
    raise PermanentlyFailed("The world will always be against it.")


async def stumble(_: Work) -> None:
    """Raise what nobody expected, with something in it that nobody may read."""
    raise RuntimeError("password=hunter2 of ada@lumen.example")


def once(act: Act, effect: str) -> Act:
    """Return `act` as often as it takes to be recorded once."""

    async def act_once(work: Work) -> None:
        if spared(work, effect):
            await act(work)

    return act_once


class Pause:
    """Holds an effect until it is let go; `reached` is set when it is there."""

    def __init__(self) -> None:
        self.reached, self.released = asyncio.Event(), asyncio.Event()
        self.cancelled = False

    async def __call__(self, _: Work) -> None:
        self.reached.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
