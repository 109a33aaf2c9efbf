"""The event store as the service uses it: append a batch, load streams, read the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, Self
from uuid import UUID

import psycopg
import structlog

from handlers.store import queries
from handlers.store.appending import APPEND_ONE, append_call, appended, one_command
from handlers.store.batch import Appended, Batch, Recorded
from handlers.store.connections import Connections
from handlers.store.identity import LogIdentity, identity_of
from handlers.store.incarnation import Incarnation
from handlers.store.packing import texts, uuids
from handlers.store.partition_owners import PartitionOwners
from handlers.store.snapshots import EMPTY, Loaded, asked, folded, snapshot_rows
from handlers.store.tenant_keys import TenantKeyRows, WrappedKey
from tenant_domain.decision import Ref

log = structlog.get_logger()

__all__ = ["EventStore", "Latest", "Loaded", "StoredEvent", "Transaction"]


class StoredEvent(NamedTuple):
    """An event of the log; `position` is its place in the global order, `state` its stored body."""

    position: int
    tenant_id: UUID
    stream_id: UUID
    version: int
    topic: str
    state: bytes
    recorded_at: datetime


class Latest(NamedTuple):
    """The last of some events of a tenant's own stream."""

    tenant_id: UUID
    version: int
    position: int
    recorded_at: datetime


_END = 2**63 - 1

LONG_COMMIT = 0.5
"""Seconds after which a write is announced again; less than anybody relies on one announcement."""


def _tell_nobody(_tenants: Sequence[str]) -> None: ...


def _unannounced(_batch: Batch) -> AbstractContextManager[None]:
    return nullcontext()


class Transaction:
    """A transaction whose effects and whose batch are committed together.

    Do all slow work on `connection` first: from `append` on, every other writer waits for the commit.
    Rows of saga_agenda and command_progress are changed by the batch alone, never on `connection`:
    they are locked after the log's head.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        incarnation: Incarnation,
        announced: Callable[[Batch], AbstractContextManager[None]] = _unannounced,
    ) -> None:
        self.connection, self._incarnation = connection, incarnation
        self._announced = announced

    async def append(self, batch: Batch) -> Appended:
        """Append `batch`; it holds once the transaction has been left without an exception.

        Where a group was dropped its effects still stand: raise to undo them all (psycopg.Rollback does so
        and goes no further). Raises Fenced.
        """
        return await (await self.send(batch))()

    async def send(self, batch: Batch) -> Callable[[], Awaitable[Appended]]:
        """Append `batch`, and return what gives the answer: on a pipeline, once that has ended.

        Raises StoreUnavailable where it was decided on another incarnation.
        """
        self._incarnation.require(batch.incarnation)
        cursor = self.connection.cursor(binary=True)
        with self._announced(batch):
            await cursor.execute(*append_call(batch), prepare=True)

        async def answer() -> Appended:
            return appended(batch, await _only(cursor))

        return answer


class EventStore:
    """The log and what is written with it. Use it as an async context manager, or `open` and `close` it.

    It starts and goes on without a database: calls raise StoreUnavailable until there is one.

    `readers` bounds the connections for reads and transactions; one more is for appends.
    `snapshot_every` is how many events of a stream are folded before a snapshot is worth its write.
    Timeouts are in seconds. `lock_timeout` is how long an append waits for other writers; it is longer than
    `idle_timeout`, after which the server ends a transaction whose process has stopped in the middle of it.
    `statement_timeout` bounds a statement in the server, and with 5 s more what a lost server can take here.
    `turn_timeout` is how long an append waits before anything is sent: for the one before it, and for a
    connection. Whoever is cancelled in a read is free at once, whatever the server does.
    """

    def __init__(
        self,
        postgres_url: str,
        *,
        readers: int = 8,
        snapshot_every: int = 100,
        statement_timeout: float = 30.0,
        lock_timeout: float = 10.0,
        idle_timeout: float = 5.0,
        pool_timeout: float = 5.0,
        turn_timeout: float = 5.0,
    ) -> None:
        self._connections = Connections(
            postgres_url,
            readers=readers,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
            idle_timeout=idle_timeout,
            pool_timeout=pool_timeout,
            turn_timeout=turn_timeout,
        )
        self.incarnation = self._connections.incarnation
        """That of PostgreSQL; other connections of the process may share it."""
        self._snapshot_every = snapshot_every
        self.tenant_keys = TenantKeyRows(self._connections)
        """The wrapped data keys, for a keyring."""
        self.partition_owners = PartitionOwners(self._connections)
        """Who decides which partition's commands."""
        self.announce: Callable[[Sequence[str]], None] = _tell_nobody
        """Is called with the tenants whose own streams are being written, while their commit is under way."""
        self._saving: asyncio.Task[None] | None = None
        self._about_to_read: dict[int, asyncio.Future[list[StoredEvent] | None]] = {}

    async def open(self) -> None:
        """Begin to connect; does not wait for the database."""
        await self._connections.open()

    async def close(self) -> None:
        """Close all connections."""
        if self._saving is not None:
            await asyncio.wait([self._saving])
        await self._connections.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def append(self, batch: Batch) -> Appended:
        """Write `batch` in one transaction and one round trip; a lone command that is dropped takes two.

        Raises Fenced and StoreUnavailable (nothing was written), AmbiguousCommit (repeat the batch), and
        ValueError for a batch that contradicts itself.
        """
        with self._announced(batch):
            lone = one_command(batch)
            if lone is not None:
                [position] = await self._connections.write(APPEND_ONE, lone, batch.incarnation)
                if position is not None:
                    return Appended(position, [position], frozenset(), {})
            return appended(batch, await self._connections.write(*append_call(batch), batch.incarnation))

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """Open a transaction for effects in the database and the batch that records them.

        Commits on leaving, rolls back on an exception. Raises StoreUnavailable (nothing was written), and
        AmbiguousCommit when the connection was lost during the commit.
        """
        async with self._connections.transaction() as connection:
            yield Transaction(connection, self.incarnation, self._announced)

    @contextmanager
    def _announced(self, batch: Batch) -> Generator[None]:
        """Announce what `batch` writes: in the next turn of the loop, when the database has it to do.

        A commit that takes long is announced again, before anybody hears of it.
        """
        tenants = [str(each.stream_id) for each in batch.events if each.stream_id == each.tenant_id]
        if not tenants:
            yield
            return
        loop = asyncio.get_running_loop()
        loop.call_soon(self.announce, tenants)
        began = loop.time()
        try:
            yield
        finally:
            if loop.time() - began > LONG_COMMIT:
                self.announce(tenants)

    async def load(self, refs: Collection[Ref]) -> dict[UUID, Loaded]:
        """Return state and version of each stream, all in one query; an empty stream is Loaded(None, 0).

        Raises StoreUnavailable, and UnknownEvent for an event that this version does not know.
        """
        entities = {ref.stream: ref.entity for ref in refs}
        if not entities:
            return {}
        return self._folded(entities, await self._connections.fetch(queries.LOAD, asked(entities)))

    async def load_to_append(
        self, refs: Collection[Ref], keys_of: Collection[UUID]
    ) -> tuple[dict[UUID, Loaded], list[WrappedKey]]:
        """Return what `load` does, and all keys of the tenants, oldest first: all that a decision rests on.

        It waits for its turn among the appends, so it is for who appends next. Raises as `load`.
        """
        entities = {ref.stream: ref.entity for ref in refs}
        read = self._connections.read_to_append
        if not keys_of:
            return self._folded(entities, await read(queries.LOAD, asked(entities))), []
        found = await read(queries.LOAD_WITH_KEYS, (*asked(entities), uuids(keys_of)))
        keys = [WrappedKey(row[0], row[4], row[3]) for row in found if row[4] is not None]
        return self._folded(entities, [row[:4] for row in found if row[4] is None]), keys

    def _folded(self, entities: dict[UUID, str], rows: Iterable[tuple[Any, ...]]) -> dict[UUID, Loaded]:
        loaded = dict.fromkeys(entities, EMPTY)
        long: list[tuple[UUID, Loaded]] = []
        for stream, found in groupby(rows, itemgetter(0)):
            history = list(found)
            loaded[stream] = folded(entities[stream], history)
            if len(history) > self._snapshot_every:
                long.append((stream, loaded[stream]))
        if long and self._saving is None:
            self._saving = asyncio.create_task(self._save_snapshots(entities, long))
        return loaded

    async def recorded(self, keys: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Recorded]:
        """Return what the ledger holds of these (tenant, command); those it does not have are missing."""
        if not keys:
            return {}
        tenants, commands = zip(*keys, strict=True)
        rows = await self._connections.fetch(queries.RECORDED, (uuids(tenants), uuids(commands)))
        return {(row[0], row[1]): Recorded(*row[2:]) for row in rows}

    async def read(self, after: int, limit: int) -> list[StoredEvent]:
        """Return up to `limit` events after position `after`: without a gap, now and later.

        Fewer come where they have many bytes: `may_go_on` tells whether there may be more.

        One hint wakes all readers of a process, mostly at the same place: those who ask in one turn of the
        loop share one statement, which is sent in the next.
        """
        while (first := self._about_to_read.get(after)) is not None:
            shared = await asyncio.shield(first)
            if shared is not None:
                return shared[:limit]
        return await self._read(after, limit)

    async def _read(self, after: int, limit: int) -> list[StoredEvent]:
        """Read, also for who asks before the statement is sent; he gets None where there may be more."""
        mine: asyncio.Future[list[StoredEvent] | None] = asyncio.get_running_loop().create_future()
        whole: list[StoredEvent] | None = None
        try:
            self._about_to_read[after] = mine
            try:
                await asyncio.sleep(0)
            finally:
                del self._about_to_read[after]
            events = _events(await self._connections.fetch(queries.READ, (after, limit)))
            if not may_go_on(events, limit):
                whole = events
            return events
        finally:
            mine.set_result(whole)

    async def read_tenant(
        self, tenant_id: UUID, after: int, upto: int | None, limit: int, types: Collection[str] = ()
    ) -> list[StoredEvent]:
        """Return up to `limit` events of a tenant after position `after` up to `upto`, only of `types`.

        Fewer come where they have many bytes; none where there are none.
        """
        wanted = texts(types)
        values = (tenant_id, after, _END if upto is None else upto, wanted, wanted, limit)
        return _events(await self._connections.fetch(queries.READ_TENANT, values))

    async def latest(self, types: Collection[str], after: int, upto: int) -> list[Latest]:
        """Return the last event of `types` of each tenant's own stream after position `after` up to `upto`.

        They are in the order of their positions.
        """
        rows = await self._connections.fetch(queries.LATEST, (after, upto, texts(types)))
        return list(map(Latest._make, rows))

    async def tenants_born(self, upto: int) -> int:
        """Return of how many tenants the log has the first event, up to position `upto`."""
        rows = await self._connections.fetch(queries.TENANTS_BORN, (upto,))
        return rows[0][0]

    async def head(self) -> int:
        """Return the position of the log's last event, 0 when there is none."""
        rows = await self._connections.fetch(queries.HEAD, ())
        return rows[0][0]

    async def identity(self) -> LogIdentity:
        """Return which log this is."""
        return await identity_of(self._connections)

    async def clock_behind(self) -> float:
        """Return by how many seconds the database's clock is behind the latest time that it gave an event."""
        rows = await self._connections.fetch(queries.CLOCK_BEHIND, ())
        return rows[0][0]

    async def _save_snapshots(self, entities: dict[UUID, str], states: list[tuple[UUID, Loaded]]) -> None:
        """Write snapshots beside the commit path; they only save time, so a failure is only logged."""
        try:
            await self._connections.fetch(queries.SAVE_SNAPSHOTS, snapshot_rows(entities, states))
        except Exception as error:  # noqa: BLE001 a task of its own: nobody else would hear of it
            log.warning("snapshots not written", error=repr(error), streams=len(states))
        finally:
            self._saving = None


def may_go_on(events: Sequence[StoredEvent], limit: int) -> bool:
    """Return whether a read of up to `limit` events ended at a bound: there may be more of them."""
    return len(events) >= limit or sum(len(event.state) for event in events) >= queries.MOST_BYTES


def _events(rows: Iterable[tuple[Any, ...]]) -> list[StoredEvent]:
    return list(map(StoredEvent._make, rows))


async def _only(cursor: psycopg.AsyncCursor) -> tuple[Any, ...]:
    row = await cursor.fetchone()
    assert row is not None
    return row
