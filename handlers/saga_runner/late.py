"""Late effects: what a worker did outside although its run had been turned back meanwhile is taken back.

A worker may sleep between its look at the lease and its effect. Who took the run over has undone the step
by then, and the run may have ended: nobody else would ever look at what came late. Nor would anybody where
the log was put back to a time before the run: what nobody asked for must not stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from handlers.adapters.effects import Effects, Work
from handlers.saga_runner.failures import place
from handlers.saga_runner.run import RunState
from handlers.store.errors import is_outage
from handlers.store.event_store import EventStore, StoredEvent
from sagas.definition import RetryPolicy, Run, Undo, next_action
from tenant_domain.operation import decide as operation_decide
from tenant_domain.operation.events import OperationStarted
from tenant_domain.operation.state import Operation, StepStatus
from tenant_domain.tenant import decide as tenant_decide
from tenant_domain.tenant.state import Tenant

log = structlog.get_logger()

_PATIENCE = RetryPolicy(first=0.1, cap=2.0, jitter=0.5)
_TRIES, _LAST_TRIES = 10, 6
"""How often an undoing may fail; and how often anything may once the worker is to end, some three seconds."""
_PAGE = 1000

_LOOKS = _LAST_TRIES - 1
"""How often an operation is looked for that the log does not have: its command may be decided again, if its
stream still has it, and gives the operation the same id."""


class Lost(Exception):
    """The log does not have the operation: it was put back to a time before it began."""


class Late:
    """Takes back late effects. `chance` (0–1) spreads the waits between tries, `ending` hurries them."""

    def __init__(
        self, store: EventStore, effects: Effects, chance: Callable[[], float], ending: Callable[[], bool]
    ) -> None:
        self._store, self._effects, self._chance, self._ending = store, effects, chance, ending

    async def take_back(self, run: RunState, action: Run | Undo, work: Work) -> None:
        """Undo the part outside of an attempt if it must not stand; waits for a store that is away.

        Whoever is cancelled meanwhile goes on with it first. One whose undoing fails too often stays, and so
        does one on top of which a later run of the tenant works: what is right then only a person can tell,
        so that is logged as an error.
        """
        taking = asyncio.ensure_future(self._take_back(run, action, work))
        cancelled = False
        while not taking.done():
            try:
                await asyncio.wait({taking})
            except asyncio.CancelledError:
                cancelled = True
        taking.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _take_back(self, run: RunState, action: Run | Undo, work: Work) -> None:
        tries = last = lost = 0
        while True:
            try:
                return await self.take_back_once(run, action, work, is_lost=lost >= _LOOKS)
            except Exception as error:  # noqa: BLE001 - whatever it is, the effect is not forgotten
                tries += 1
                lost += isinstance(error, Lost)
                last += self._ending()
                if last >= _LAST_TRIES or (tries >= _TRIES and not is_outage(error)):
                    log.error("late effect may stay", **_names(run, action), error=type(error).__name__)
                    return None
                told = {**_names(run, action), "error": type(error).__name__, "where": place(error)}
                log.warning("late effect not taken back yet", **told)
            await asyncio.sleep(_PATIENCE.delay(tries, self._chance()).total_seconds())

    async def take_back_once(
        self, run: RunState, action: Run | Undo, work: Work, *, is_lost: bool = False
    ) -> None:
        """Undo the effect if it must not stand; `is_lost` says that the log has lost the operation for good.

        Raises Lost where it has not, yet, and what the store and the undoing raise.
        """
        deed = action.step.outside
        if isinstance(action, Undo) or deed is None or deed.undo is None:
            return
        operation = await self._operation(run)
        if operation is None and not is_lost:
            raise Lost
        if operation is not None and not _must_not_stand(run, action, operation):
            return
        if await self._built_upon(run):
            log.error("late effect stays: another run of the tenant is at work", **_names(run, action))
            return
        async with asyncio.timeout(action.step.limit):
            await self._effects[deed.undo](work)

    async def _operation(self, run: RunState) -> Operation | None:
        ref = operation_decide.ref(run.operation_id)
        return (await self._store.load([ref]))[ref.stream].state

    async def _built_upon(self, run: RunState) -> bool:
        """Return whether another run holds the tenant, or a later one did what is not undone."""
        tenant_ref = tenant_decide.ref(run.tenant_id)
        later = [operation_decide.ref(stream) for stream in await self._begun_after(run)]
        known = await self._store.load([tenant_ref, *later])
        tenant: Tenant | None = known[tenant_ref.stream].state
        if tenant is not None and tenant.operation_id not in (None, run.operation_id):
            return True
        operations: list[Operation] = [known[ref.stream].state for ref in later]
        return any(step.touched for operation in operations for step in operation.steps)

    async def _begun_after(self, run: RunState) -> list[UUID]:
        """Return the tenant's operations that began after the run; where that is lost, after its time."""
        begun: list[StoredEvent] = []
        after = 0
        while page := await self._store.read_tenant(
            run.tenant_id, after, None, _PAGE, (OperationStarted.name,)
        ):
            begun += page
            after = page[-1].position
        ids = [event.stream_id for event in begun]
        if run.operation_id in ids:
            return ids[ids.index(run.operation_id) + 1 :]
        return [event.stream_id for event in begun if event.recorded_at > run.scene.operation.started_at]


def _must_not_stand(run: RunState, action: Run, operation: Operation) -> bool:
    """Return whether the step is undone, or is just being undone by somebody else."""
    if operation.step(action.step.name).status is StepStatus.COMPENSATED:
        return True
    following = next_action(run.saga, operation)
    return isinstance(following, Undo) and following.step.name == action.step.name


def _names(run: RunState, action: Run | Undo) -> dict[str, str]:
    return {
        "tenant_id": str(run.tenant_id),
        "operation_id": str(run.operation_id),
        "step": action.step.name,
    }
