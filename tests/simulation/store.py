"""A process's way to the database: its store and its agenda, with the faces of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import psycopg

from handlers.saga_runner.agenda import Agenda, Due
from handlers.store.batch import Appended, Batch
from handlers.store.errors import AmbiguousCommit, StoreUnavailable
from handlers.store.event_store import EventStore, Loaded, StoredEvent, Transaction
from handlers.store.incarnation import Incarnation
from handlers.wire.events import Meta, encoded
from tenant_domain.decision import Ref
from tests.simulation.database import Connection, Database
from tests.simulation.loop import Call, Process, VirtualLoop


class _Way(NamedTuple):
    """What is raised with no database, and where the answer is lost; what `writes` needs the log's head."""

    away: type[Exception]
    lost: type[Exception]
    writes: bool = False


_READ = _Way(StoreUnavailable, StoreUnavailable)
_APPEND = _Way(StoreUnavailable, AmbiguousCommit, writes=True)
_AGENDA = _Way(psycopg.OperationalError, psycopg.OperationalError)
_WITHIN = _AGENDA
_STAGE = _WITHIN._replace(writes=True)


class Request:
    """A statement on its way, in the transaction of `connection` if there is one."""

    def __init__(
        self,
        link: Link,
        way: _Way,
        connection: Connection | None,
        act: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        self._link, self._way, self._connection, self._act, self._args = link, way, connection, act, args
        self.answer: asyncio.Future[Any] = link.loop.create_future()

    def arrive(self) -> None:
        """Do it, and send the answer; a writer waits until nobody else has the log's head."""
        link, connection = self._link, self._connection
        database = link.database
        if not database.up or (connection is not None and connection.closed):
            self._fail(self._way.away)
        elif self._way.writes and database.holder not in (None, connection):
            database.waiting.append(self._again)
        elif self._way.writes and link.loses_answer():
            self.cut()
        else:
            self._do()

    def hurry(self) -> bool:
        """Arrive before the end of the process that asks: its transaction does not outlive it."""
        if self._connection is None:
            return False
        self.arrive()
        return True

    def cut(self) -> None:
        """Lose the connection, on the way there or on the way back."""
        database, connection = self._link.database, self._connection
        self._link.loop.took_course("cut")
        over = connection is not None and connection.closed
        free = not self._way.writes or database.holder in (None, connection)
        if free and not over and self._link.loop.random.random() < 0.5:
            with suppress(ValueError):  # refused: nobody will be told
                self._act(*self._args)
        if connection is not None:
            database.end(connection)
            connection.closed = True
        self._fail(self._way.lost)

    def _do(self) -> None:
        try:
            result = self._act(*self._args)
        except ValueError as error:
            self._settle(error)
        else:
            if not self.answer.done():
                self.answer.set_result(result)

    def _again(self) -> None:
        self._link.loop.within(self._link.process, self._link.loop.send, self.arrive)

    def _fail(self, error: type[Exception]) -> None:
        self._settle(error("the connection was lost"))

    def _settle(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def requests_of(loop: VirtualLoop, process: Process | None = None) -> list[tuple[Call, Request]]:
    """Return the statements that are on their way, those of one process or all."""
    found: list[tuple[Call, Request]] = []
    for call in loop.requests:
        request = getattr(call.callback, "__self__", None)
        if isinstance(request, Request) and not call.off and process in (None, call.process):
            found.append((call, request))
    return found


def cut_all(loop: VirtualLoop) -> None:
    """Lose all connections: what is on its way gets through, or not; nobody is told."""
    for call, request in requests_of(loop):
        call.off = True
        loop.within(call.process, request.cut)


class Link:
    """What one process sends to the database. `loses_answer` says whether the next write is ambiguous."""

    def __init__(
        self, loop: VirtualLoop, process: Process, database: Database, loses_answer: Callable[[], bool]
    ) -> None:
        self.loop, self.process, self.database, self.loses_answer = loop, process, database, loses_answer

    async def ask(
        self, way: _Way, act: Callable[..., Any], *args: Any, connection: Connection | None = None
    ) -> Any:
        """Send a statement, and wait for its answer."""
        request = Request(self, way, connection, act, args)
        self.loop.send(request.arrive)
        return await request.answer

    async def within(self, connection: Connection, act: Callable[..., Any], *args: Any) -> Any:
        """Do something on a connection, as a part of its transaction."""
        return await self.ask(_WITHIN, act, *args, connection=connection)


class _SimulatedTransaction(Transaction):
    def __init__(self, link: Link, connection: Connection) -> None:
        super().__init__(cast("psycopg.AsyncConnection", connection), Incarnation())
        self._link, self._own = link, connection

    async def append(self, batch: Batch) -> Appended:
        act = self._link.database.stage
        return await self._link.ask(_STAGE, act, self._own, batch, connection=self._own)


class SimulatedStore(EventStore):
    """The store, over a link."""

    def __init__(self, link: Link) -> None:
        self._link, self._database = link, link.database
        self.incarnation = Incarnation()

    async def append(self, batch: Batch) -> Appended:
        return await self._link.ask(_APPEND, self._database.append, batch)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        link, database = self._link, self._database
        connection = Connection(link.process)
        committing = False
        await link.ask(_READ, database.begin, connection)
        try:
            yield _SimulatedTransaction(link, connection)
            committing = True
            await link.ask(_STAGE, database.commit, connection, connection=connection)
        except psycopg.OperationalError as error:
            raise (AmbiguousCommit if committing else StoreUnavailable)(str(error)) from error
        finally:
            database.end(connection)
            connection.closed = True

    async def load(self, refs: Collection[Ref]) -> dict[UUID, Loaded]:
        if not refs:
            return {}
        return await self._link.ask(_READ, self._database.load, {ref.stream for ref in refs})

    async def read_tenant(
        self, tenant_id: UUID, after: int, upto: int | None, limit: int, types: Collection[str] = ()
    ) -> list[StoredEvent]:
        return await self._link.ask(_READ, self._history, tenant_id, after, types)

    def _history(self, tenant_id: UUID, after: int, types: Collection[str]) -> list[StoredEvent]:
        versions: dict[UUID, int] = {}
        history: list[StoredEvent] = []
        for each in self._database.log:
            version = versions[each.stream] = versions.get(each.stream, 0) + 1
            wanted = not types or each.event.name in types
            if wanted and each.tenant_id == tenant_id and each.position > after:
                body = encoded(each.event, Meta())
                history.append(
                    StoredEvent(
                        each.position, tenant_id, each.stream, version, each.event.name, body, each.at
                    )
                )
        return history


class SimulatedAgenda(Agenda):
    """The agenda, over a link. `lease` is in seconds."""

    def __init__(self, link: Link, lease: float) -> None:
        self._link, self._database, self._seconds = link, link.database, lease

    @property
    def standing(self) -> bool:
        """Its connection: who has none here is dead, and asks nothing."""
        return True

    async def register(self, owner: UUID) -> None:
        await self._link.ask(_AGENDA, self._database.register, owner, self._seconds)

    async def renew(self, owner: UUID) -> bool:
        return await self._link.ask(_AGENDA, self._database.renew, owner, self._seconds)

    async def take(self, owner: UUID, now: datetime, limit: int, per_tenant: int) -> list[Due]:
        return await self._link.ask(_AGENDA, self._database.take, owner, now, limit, per_tenant)

    async def hasten(self, now: datetime, far: datetime) -> int:
        return 0  # the clock of a simulation goes on

    async def owns(self, owner: UUID, operation_id: UUID) -> bool:
        return await self._link.ask(_AGENDA, self._database.owns, owner, operation_id)

    async def free(self, owner: UUID, known: Collection[UUID]) -> int:
        return await self._link.ask(_AGENDA, self._database.free, owner, frozenset(known))

    async def leave(self, owner: UUID) -> None:
        await self._link.ask(_AGENDA, self._database.leave, owner)

    async def close(self) -> None:
        """Nothing to close."""
