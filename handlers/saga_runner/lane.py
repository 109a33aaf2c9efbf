"""A lane commits moves of runs, many in one transaction: what waits meanwhile goes into the next one.

A step's effect inside the database stands in the same transaction as its events. When a transaction of
several runs fails, each is tried alone, so that no run suffers from another's failure.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg import AsyncConnection

from handlers.adapters.effects import Output
from handlers.saga_runner.failures import EffectRaised, Overtaken
from handlers.saga_runner.news import News, Tell
from handlers.saga_runner.run import RunState, write
from handlers.store.batch import Batch
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore, Transaction
from sagas.journal import Moved

Inside: TypeAlias = Callable[[AsyncConnection[Any]], Awaitable[Output | None]]


class Entry(NamedTuple):
    """A move of a run: its effect inside the database, if any, and what follows from the effect's output.

    `limit` bounds the effect (seconds). One that failed before is committed `alone`.
    """

    run: RunState
    follow: Callable[[Output], Moved]
    inside: Inside | None = None
    limit: float = 0.0
    alone: bool = False


Pair: TypeAlias = tuple[Entry, "asyncio.Future[Moved]"]


class _Written(NamedTuple):
    moves: list[Moved | None]
    head: int


class Lane:
    """One transaction at a time, of at most `size` moves; `tell` hears of each, with the log's new end."""

    def __init__(
        self,
        store: EventStore,
        *,
        size: int,
        tell: Tell,
    ) -> None:
        self._store, self._size, self._tell = store, size, tell
        self._waiting: deque[Pair] = deque()
        self._filled = asyncio.Event()

    async def commit(self, entry: Entry) -> Moved:
        """Commit a move, and bring its run up to it.

        Raises EffectRaised (nothing was written), Overtaken (nothing was written: load the run again), and
        the store's errors.
        """
        future: asyncio.Future[Moved] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        self._filled.set()
        return await future

    async def run(self) -> None:
        """Commit what waits, for ever."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                count = min(self._size, len(self._waiting))
                taken = [self._waiting.popleft() for _ in range(count)]
                await self._commit([pair for pair in taken if not pair[1].cancelled()])

    async def _commit(self, pairs: list[Pair]) -> None:
        together = [pair for pair in pairs if not pair[0].alone]
        apart = [pair for pair in pairs if pair[0].alone]
        if len(together) == 1 or (together and not await self._try(together)):
            apart += together
        for pair in apart:
            await self._try([pair])

    async def _try(self, pairs: list[Pair]) -> bool:
        """Write these moves at once; returns False when each has to be tried by itself."""
        entries = [entry for entry, _ in pairs]
        try:
            written = await (
                self._act(entries) if any(entry.inside for entry in entries) else self._record(entries)
            )
        except Exception as error:  # noqa: BLE001 - handed to those who wait for it
            if len(pairs) > 1 and not isinstance(error, StoreError):
                return False
            for _, future in pairs:
                _settle(future, error)
            return True
        for (entry, future), moved in zip(pairs, written.moves, strict=True):
            if moved is None:
                _settle(future, Overtaken())
            else:
                entry.run.moved(moved)
                _settle(future, moved)
        await self._tell(written.head, list(_news(entries, written.moves)))
        return True

    async def _record(self, entries: list[Entry]) -> _Written:
        """Append moves without effects: one that was overtaken is dropped, the others hold."""
        moves = [entry.follow({}) for entry in entries]
        appended = await self._store.append(self._batch(entries, moves))
        kept = [None if group in appended.dropped else moved for group, moved in enumerate(moves)]
        return _Written(kept, appended.head)

    async def _act(self, entries: list[Entry]) -> _Written:
        """Do the effects and append the moves; all of it, or nothing."""
        async with self._store.transaction() as transaction:
            moves = [entry.follow(await _effect(entry, transaction)) for entry in entries]
            appended = await transaction.append(self._batch(entries, moves))
            if appended.dropped:
                raise Overtaken
        return _Written(list(moves), appended.head)

    @staticmethod
    def _batch(entries: list[Entry], moves: list[Moved]) -> Batch:
        batch = Batch()
        for group, (entry, moved) in enumerate(zip(entries, moves, strict=True)):
            write(batch, group, entry.run, moved)
        return batch


async def _effect(entry: Entry, transaction: Transaction) -> Output:
    if entry.inside is None:
        return {}
    try:
        async with asyncio.timeout(entry.limit):
            return await entry.inside(transaction.connection) or {}
    except Exception as error:
        if isinstance(error, psycopg.Error) and transaction.connection.closed:
            raise  # the store failed; an effect that was too slow failed itself
        raise EffectRaised(error) from error


def _news(entries: list[Entry], moves: list[Moved | None]) -> Iterator[News]:
    for entry, moved in zip(entries, moves, strict=True):
        if moved is not None:
            yield News(entry.run.tenant_id, entry.run.operation_id, entry.run.saga.kind, moved.events)


def _settle(future: asyncio.Future[Moved], outcome: Moved | Exception) -> None:
    if future.cancelled():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
