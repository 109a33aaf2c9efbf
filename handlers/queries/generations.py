"""Which generation of each read model is live, and reading from it, whatever is swapped meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from handlers.store.connections import Connections
from projections.read_model import ReadModel
from tenant_domain.refusals import Unavailable

_LIVE = b"SELECT name, generation, revision FROM service.projections WHERE live"

_UNDEFINED_TABLE = "42P01"

_TRIES = 5
"""A swap costs one more try; several within one query never happen, but must not loop for ever."""


class Generations:
    """Reads of read models; one per process."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._live: dict[str, tuple[int, int]] = {}

    def forget(self) -> None:
        """Look anew which generations are live."""
        self._live.clear()

    async def position(self) -> int:
        """Return the position that all live read models include."""
        rows = await self._connections.fetch(
            b"SELECT coalesce(min(position), 0) FROM service.projections WHERE live", ()
        )
        return rows[0][0]

    async def read(
        self,
        model: ReadModel,
        statement: Callable[[int], str],
        values: Sequence[Any],
        *,
        prepare: bool = True,
    ) -> list[tuple[Any, ...]]:
        """Run `statement` for the live generation and return its rows.

        The statement gives at least one row while that generation is live, and none when it is not: then the
        live one is looked up and the statement is run on it. Raises Unavailable when there is none, and
        StoreError.
        """
        for _ in range(_TRIES):
            generation = await self._generation(model)
            try:
                rows = await self._connections.fetch(statement(generation).encode(), values, prepare=prepare)
            except psycopg.Error as error:
                if error.sqlstate != _UNDEFINED_TABLE:
                    raise
                rows = []
            if rows:
                return rows
            self._live.clear()
        raise _not_made(model)

    async def _generation(self, model: ReadModel) -> int:
        if model.name not in self._live:
            rows = await self._connections.fetch(_LIVE, ())
            self._live = {name: (generation, revision) for name, generation, revision in rows}
        generation, revision = self._live.get(model.name, (0, 0))
        if revision != model.revision:
            self._live.clear()
            raise _not_made(model)
        return generation


def _not_made(model: ReadModel) -> Unavailable:
    return Unavailable(f"The read model of {model.name} is being made; try again soon.", retry_after=1)
