"""Looking up rows by key: whatever is asked while a statement is under way goes together into the next one.

So under load one round trip serves many, a lone question waits for nobody, and each is answered from a
snapshot that was taken after it was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from handlers.adapters.tasks import watched
from handlers.queries.following import next_event
from handlers.queries.generations import Generations
from handlers.queries.memory import Mark
from handlers.store.packing import texts, uuids
from projections.questions import Lookup, Row
from projections.read_model import KEY

_MOST = 500
"""Most keys in one statement: more gain nothing, and make the first ones wait for the last."""


class Found(NamedTuple):
    """A row, or None, and the position that it includes; `mark` says of which rows, None for a parked one.

    `behind` means that the log has more of the row's stream than the row: whoever answers reads on.
    """

    position: int
    row: Row | None
    mark: Mark | None
    behind: bool = False


_Asked = dict[Any, list[asyncio.Future[Found]]]


def _settle(asked: _Asked, settle: Callable[[asyncio.Future[Found], Any], object]) -> None:
    for key, futures in asked.items():
        for future in futures:
            if not future.done():
                settle(future, key)


class Lookups:
    """The look-ups of one question."""

    def __init__(self, question: Lookup, generations: Generations) -> None:
        self._question = question
        self._generations = generations
        self._asked: _Asked = {}
        self._runner: asyncio.Task[None] | None = None

    async def find(self, key: UUID | str) -> Found:
        """Return the row of `key`. Raises what reading it raises (see Generations.read)."""
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(future)
        if self._runner is None or self._runner.done():
            self._runner = watched(self._run(), f"look-ups of {self._question.name}")
        return await future

    async def _run(self) -> None:
        while self._asked:
            keys = list(self._asked)[:_MOST]
            asked = {key: self._asked.pop(key) for key in keys}
            try:
                found = await self._read(keys)
            except Exception as error:  # noqa: BLE001 it belongs to those who asked
                _settle(asked, lambda future, _, error=error: future.set_exception(error))
            except asyncio.CancelledError:
                _settle(asked, lambda future, _: future.cancel())
                raise
            else:
                _settle(asked, lambda future, key, found=found: future.set_result(found[key]))

    async def _read(self, keys: list[Any]) -> Mapping[Any, Found]:
        packed = uuids(keys) if self._question.column == KEY else texts(keys)
        statement = partial(self._statement, lone=len(keys) == 1)
        value = keys[0] if len(keys) == 1 else packed
        rows = await self._generations.read(self._question.model, statement, (value,))
        position, mark = rows[0][0], Mark(*rows[0][1:3])
        found = dict.fromkeys(keys, Found(position, None, None))
        for _, _, _, key, tenant_id, status, body, parked, behind in rows:
            if status is not None:
                row = Row(tenant_id, status, body)
                found[key] = Found(parked - 1, row, None) if parked else Found(position, row, mark, behind)
            elif behind:
                found[key] = Found(position, None, None, behind)
        return found

    def _statement(self, generation: int, *, lone: bool) -> str:
        """Return the statement; a lone key is no array, for which the server would plan anew each time."""
        model, column = self._question.model, self._question.column
        keys = "(SELECT %s AS key)" if lone else "unnest(%s)"
        behind = next_event(model, "k.key" if column == KEY else f"r.{KEY}")
        return (
            "SELECT p.position, p.generation, p.epoch, "  # noqa: S608
            f"k.key, r.tenant_id, r.status, r.body, r.parked, {behind} "
            f"FROM service.projections p CROSS JOIN {keys} k(key) "
            f"LEFT JOIN service.{model.table(generation)} r ON r.{column} = k.key "
            f"WHERE p.name = '{model.name}' AND p.generation = {generation} AND p.live "
            "ORDER BY r.born"
        )
