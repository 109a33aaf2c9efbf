"""The world outside and the tenants' tables: every deed that the sagas name, with failures on demand.

A thing is what a deed and its undoing are about; it is as the last of the two left it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, cast
from uuid import UUID

from handlers.adapters.effects import Effect, EffectFailed, Effects, Output, PermanentlyFailed, Work
from sagas.definition import Deed, Saga
from tenant_domain.operation.events import StepStarted
from tests.simulation.database import Connection, Database
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.store import Link

How: TypeAlias = Literal["before", "after", "for_good", "hangs", "stumbles"]
HOWS: tuple[How, ...] = ("before", "after", "for_good", "hangs", "stumbles")

_GRACE = 4
"""Steps in which a process that was woken, or lost its lease just now, may act on what it knew before."""


class Part(NamedTuple):
    """A deed as a part of a step: what it does to `thing`."""

    step: str
    thing: str
    deed: Deed
    inside: bool


def parts_of(saga: Saga) -> list[Part]:
    """Return all that a saga does."""
    return [
        Part(step.name, min(deed.do, deed.undo or deed.do), deed, inside)
        for step in (*saga.steps, *saga.retired)
        for deed, inside in ((step.outside, False), (step.inside, True))
        if deed is not None
    ]


class World:
    """Things by tenant and name. `failing` says how the n-th call of an effect fails; it is used up by that."""

    def __init__(
        self,
        loop: VirtualLoop,
        database: Database,
        sagas: Mapping[str, Saga],
        failing: Mapping[int, How],
        outputs: Mapping[str, Output],
    ) -> None:
        self._loop, self._database, self._outputs = loop, database, outputs
        self.failing = dict(failing)
        self.things: dict[tuple[UUID, str], str] = {}
        self.inside: Counter[tuple[UUID, str, str]] = Counter()
        """How often each deed inside the database was committed for a run: (run, step, deed)."""
        self.calls = 0
        self._parts: dict[tuple[str, str], list[Part]] = {}
        for saga in sagas.values():
            for part in parts_of(saga):
                for name in filter(None, part.deed):
                    self._parts.setdefault((saga.kind, name), []).append(part)

    def effects(self, link: Link, holds: Callable[[], bool]) -> Effects:
        """Return the effects as a process has them; `holds` says whether its lease does."""
        names = sorted({name for _, name in self._parts})
        return {name: self._effect(name, link, holds) for name in names}

    def _effect(self, name: str, link: Link, holds: Callable[[], bool]) -> Effect:
        async def act(work: Work) -> Output:
            how = self._fails(name, work)
            part = self._part(name, work)
            if work.connection is None and not holds() and link.process.awake_for > _GRACE:
                self._loop.violated(f"{name} is done outside by {link.process.name}, whose lease is over")
            await self._trouble(how, before=True)
            if work.connection is None:
                await self._outside(name, part, work)
            else:
                connection = cast("Connection", work.connection)
                change = partial(self._inside, name, part, work)
                await link.within(connection, connection.changes.append, change)
            await self._trouble(how, before=False)
            return self._outputs.get(name, {})

        return act

    def _fails(self, name: str, work: Work) -> How | None:
        self.calls += 1
        how = self.failing.get(self.calls)
        self._loop.note(f"{self._loop.current.name:8} calls {self.calls}: {name} ({how or 'works'})")
        return how

    def _part(self, name: str, work: Work) -> Part:
        parts = [
            part
            for part in self._parts[work.operation.kind, name]
            if part.inside is (work.connection is not None)
        ]
        return parts[0]

    async def _trouble(self, how: How | None, *, before: bool) -> None:
        if how is None or before is (how == "after"):
            return
        if how == "hangs":
            await self._loop.create_future()
        elif how == "stumbles":
            raise RuntimeError("nobody expected this")
        raise (PermanentlyFailed if how == "for_good" else EffectFailed)("The world was against it.")

    async def _outside(self, name: str, part: Part, work: Work) -> None:
        arrived = self._loop.create_future()

        def arrive() -> None:
            if arrived.cancelled():
                return
            self._check_intent(name, part, work)
            self.things[work.tenant_id, part.thing] = name
            self._loop.note(f"{self._loop.current.name:8} has done {name}")
            arrived.set_result(None)

        self._loop.send(arrive)
        await arrived

    def _inside(self, name: str, part: Part, work: Work) -> None:
        self.things[work.tenant_id, part.thing] = name
        self.inside[work.operation.operation_id, part.step, name] += 1

    def _check_intent(self, name: str, part: Part, work: Work) -> None:
        run = work.operation.operation_id
        if name == part.deed.do and not any(
            each.stream == run
            and isinstance(each.event, StepStarted)
            and each.event.step == part.step
            and each.event.attempt >= work.operation.step(part.step).attempts
            for each in self._database.log
        ):
            self._loop.violated(f"{name} is done before its intent is recorded")
