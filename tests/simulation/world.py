"""The world outside and the tenants' tables: every deed that the sagas name, with failures on demand.

A thing is what a deed and its undoing are about; it is as the last of the two left it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias, cast
from uuid import UUID

from handlers.adapters.effects import Effect, EffectFailed, Effects, Output, PermanentlyFailed, Work
from tenant_domain.operation.events import StepStarted
from tenant_domain.operation.state import StepStatus
from tests.simulation.database import Connection, Database
from tests.simulation.kinds import OUTPUTS, PART_OF, Part
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.store import Link

How: TypeAlias = Literal["before", "after", "for_good", "hangs", "stumbles"]
HOWS: tuple[How, ...] = ("before", "after", "for_good", "hangs", "stumbles")

_GRACE = 4
"""Steps in which a process that was woken, or lost its lease just now, may act on what it knew before."""


class _Table(dict[str, Effect]):
    """Effects by their names, each made when it is asked for."""

    def __init__(self, made: Callable[[str], Effect]) -> None:
        super().__init__()
        self._made = made

    def __missing__(self, name: str) -> Effect:
        effect = self[name] = self._made(name)
        return effect


class World:
    """Things by tenant and name. `failing` says how the n-th call of an effect fails."""

    def __init__(
        self,
        loop: VirtualLoop,
        database: Database,
        failing: Mapping[int, How],
    ) -> None:
        self._loop, self._database = loop, database
        self.failing = dict(failing)
        self.things: dict[tuple[UUID, str], str] = {}
        self.inside: Counter[tuple[UUID, str, str]] = Counter()
        """How often each deed inside the database was committed for a run: (run, step, deed)."""
        self.calls = 0

    def effects(self, link: Link, holds: Callable[[], bool]) -> Effects:
        """Return the effects as a process has them; `holds` says whether its lease does."""
        return _Table(lambda name: self._effect(name, link, holds))

    def _effect(self, name: str, link: Link, holds: Callable[[], bool]) -> Effect:
        async def act(work: Work) -> Output:
            how = self._fails(name, work)
            part = self._part(name, work)
            if work.connection is None and not holds():
                self._check_late(name, part, work, link.process)
            await self._trouble(how, before=True)
            if work.connection is None:
                await self._outside(name, part, work)
            else:
                connection = cast("Connection", work.connection)
                change = partial(self._inside, name, part, work)
                await link.within(connection, connection.changes.append, change)
            await self._trouble(how, before=False)
            return OUTPUTS.get(name, {})

        return act

    def _fails(self, name: str, work: Work) -> How | None:
        self.calls += 1
        how = self.failing.get(self.calls)
        if how is not None:
            self._loop.took_course(name, how)
        self._loop.note(f"calls effect {self.calls}:", name, how or "")
        return how

    def _part(self, name: str, work: Work) -> Part:
        return PART_OF[work.operation.kind, name, work.connection is not None]

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
            self._loop.note("has done", name)
            arrived.set_result(None)

        self._loop.send(arrive)
        await arrived

    def _check_late(self, name: str, part: Part, work: Work, process: Process) -> None:
        """Only a worker that was asleep may act without a lease, or one that takes back what it did late."""
        run = self._database.states[work.operation.operation_id].state
        undone = run.ending is not None or run.step(part.step).status is StepStatus.COMPENSATED
        taken_back = name == part.deed.undo and undone
        if process.awake_for > _GRACE and not taken_back:
            self._loop.violated(f"{name} is done by {process.name}, whose lease is over")

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
