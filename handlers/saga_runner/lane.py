"""A lane commits moves of runs, many in one transaction: what waits meanwhile goes into the next one.

A step's effect inside the database stands in the same transaction as its events. Steps of a run that follow
each other there share one: all of them are done or none, and there is one commit to wait for. When a
transaction of several runs fails, each is tried alone, so that no run suffers from another's failure; when a
later step of a run fails, those before it are committed without it. Where all are blind their statements are
piped: sent without waiting for answers, and the append behind them, so which of them failed shows only when
each is tried alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from math import ceil
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg import AsyncConnection

from handlers.adapters.effects import Output
from handlers.saga_runner.failures import EffectRaised, Overtaken
from handlers.saga_runner.news import News, Tell
from handlers.saga_runner.run import RunState, write
from handlers.saga_runner.spans import committing
from handlers.store.batch import Appended, Batch
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore, Transaction
from sagas.journal import Moved

Inside: TypeAlias = Callable[[AsyncConnection[Any]], Awaitable[Output | None]]


MOST_STEPS = 16
"""Steps of one run in one transaction at most."""


def _nothing(_: Moved) -> Entry | None:
    return None


class Entry(NamedTuple):
    """A move of a run: its effect inside the database, if any, and what follows from the effect's output.

    `limit` bounds the effect (seconds). One that failed before is committed `alone`. A `blind` one looks at
    no answer of the database. `then` gives the move that may share the transaction after this one, at most
    `more` times.
    """

    run: RunState
    follow: Callable[[Output], Moved]
    inside: Inside | None = None
    limit: float = 0.0
    alone: bool = False
    blind: bool = False
    then: Callable[[Moved], Entry | None] = _nothing
    more: int = MOST_STEPS - 1


Pair: TypeAlias = tuple[Entry, "asyncio.Future[Moved]"]


class _Broken(Exception):
    """The effect of a later step of a run raised, after those of the first and of `before` later ones."""

    def __init__(self, raised: EffectRaised, before: int) -> None:
        super().__init__()
        self.raised, self.before = raised, before


class _Written(NamedTuple):
    moves: list[Moved | None]
    head: int


class Lane:
    """Transactions of at most `size` runs, `at_once` of them; `tell` hears of each, with the log's end."""

    def __init__(self, store: EventStore, *, size: int, tell: Tell, at_once: int = 1) -> None:
        self._store, self._size, self._at_once, self._tell = store, size, at_once, tell
        self._waiting: deque[Pair] = deque()
        self._filled = asyncio.Event()
        self._idle = at_once

    async def commit(self, entry: Entry) -> Moved:
        """Commit a move and those that may share its transaction, and bring its run up to them.

        Raises EffectRaised (nothing was written of that step; those before it were, and the run is up to
        them), Overtaken (nothing was written: load the run again), and the store's errors.
        """
        future: asyncio.Future[Moved] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        self._filled.set()
        return await future

    async def run(self) -> None:
        """Commit what waits, for ever."""
        await asyncio.gather(*(self._run() for _ in range(self._at_once)))

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(self._share())]
                self._idle -= 1
                try:
                    await self._commit([pair for pair in taken if not pair[1].cancelled()])
                finally:
                    self._idle += 1

    def _share(self) -> int:
        """Return how many of those that wait go into the next transaction, so that none stands idle."""
        return min(self._size, ceil(len(self._waiting) / self._idle))

    async def _commit(self, taken: list[Pair]) -> None:
        pairs: list[Pair] = []
        for pair in taken:
            if pair[0].run.incarnation == self._store.incarnation.number:
                pairs.append(pair)
            else:  # the database has been restored, or failed over: the run may not be there any more
                _settle(pair[1], Overtaken())
        together = [pair for pair in pairs if not pair[0].alone]
        apart = [pair for pair in pairs if pair[0].alone]
        acting = [entry for entry, _ in together if entry.inside]
        piped = bool(acting) and all(entry.blind for entry in acting)
        if together and not ((len(together) > 1 or piped) and await self._try(together, piped=piped)):
            apart += together
        for pair in apart:
            await self._try([pair])

    async def _try(self, pairs: list[Pair], *, piped: bool = False) -> bool:
        """Write these moves at once; returns False when each has to be tried by itself."""
        entries = [entry for entry, _ in pairs]
        telling = len(pairs) == 1 and not piped
        try:
            with committing([entry.run for entry in entries]):
                written = await (
                    self._act(entries, piped=piped)
                    if any(entry.inside for entry in entries)
                    else self._record(entries)
                )
        except _Broken as broken:
            if not telling:
                return False
            await self._without(broken, *pairs[0])
            return True
        except Exception as error:  # noqa: BLE001 - handed to those who wait for it
            if not telling and not isinstance(error, StoreError):
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

    async def _without(self, broken: _Broken, entry: Entry, future: asyncio.Future[Moved]) -> None:
        """Write the steps before the one that failed, then tell of it."""
        before: asyncio.Future[Moved] = asyncio.get_running_loop().create_future()
        await self._try([(entry._replace(more=broken.before), before)])
        failure = before.exception()
        _settle(future, failure if isinstance(failure, Exception) else broken.raised)

    async def _record(self, entries: list[Entry]) -> _Written:
        """Append moves without effects: one that was overtaken is dropped, the others hold."""
        moves = [entry.follow({}) for entry in entries]
        appended = await self._store.append(_batch(entries, moves))
        kept = [None if group in appended.dropped else moved for group, moved in enumerate(moves)]
        return _Written(kept, appended.head)

    async def _act(self, entries: list[Entry], *, piped: bool) -> _Written:
        """Do the effects and append the moves; all of it, or nothing."""
        async with self._store.transaction() as transaction:
            moves, appended = await (_piped if piped else _one_by_one)(entries, transaction)
            if appended.dropped:
                raise Overtaken
        return _Written(list(moves), appended.head)


def _batch(entries: list[Entry], moves: list[Moved]) -> Batch:
    batch = Batch(incarnation=min(entry.run.incarnation for entry in entries))
    for group, (entry, moved) in enumerate(zip(entries, moves, strict=True)):
        write(batch, group, entry.run, moved)
    return batch


async def _one_by_one(entries: list[Entry], transaction: Transaction) -> tuple[list[Moved], Appended]:
    moves = [await _moved(entry, transaction) for entry in entries]
    return moves, await transaction.append(_batch(entries, moves))


async def _piped(entries: list[Entry], transaction: Transaction) -> tuple[list[Moved], Appended]:
    """Do blind effects and append; an error may be that of any statement, so it does not say whose it is."""
    connection = transaction.connection
    limit = min(entry.limit for entry in entries if entry.inside)
    try:
        async with asyncio.timeout(limit), connection.pipeline():
            moves = [await _moved(entry, transaction, blind=True) for entry in entries]
            answer = await transaction.send(_batch(entries, moves))
        return moves, await answer()
    except (psycopg.Error, TimeoutError) as error:
        if connection.closed:
            raise
        raise EffectRaised(error) from error


async def _moved(entry: Entry, transaction: Transaction, *, blind: bool = False) -> Moved:
    """Do the effects of a move and of those that share its transaction, and return all that follows.

    With `blind` only those share it that are so too, and that the time limit of the first is enough for.
    """
    moved = entry.follow(await _effect(entry, transaction))
    for before in range(entry.more):
        later = entry.then(moved)
        if later is None or (blind and not (later.blind and later.limit >= entry.limit)):
            break
        try:
            output = await _effect(later, transaction)
        except EffectRaised as raised:
            raise _Broken(EffectRaised(raised.cause, moved.action), before) from raised
        following = later.follow(output)
        moved = following._replace(events=moved.events + following.events)
    return moved


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
