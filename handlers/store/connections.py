"""Connections to PostgreSQL: one that appends, a bounded pool for the rest; they come back by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from handlers.store.errors import AmbiguousCommit, StoreUnavailable, explained
from handlers.store.incarnation import ORIGIN, Incarnation
from handlers.store.own_connection import OwnConnection
from handlers.store.packing import Packed
from handlers.store.watched import WatchedConnection
from handlers.store.writer import Writer

LASTING: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""How connections that stay are made: one whose server vanished from the network is given up after 25 seconds
or so. To make one takes six times the way there and back, so seconds where the network is slow."""

Plans: TypeAlias = Literal["auto", "force_generic_plan"]

_RECONNECT = 0.5
"""Seconds that the pool tries by itself; then whoever wants a connection begins anew. Its pauses double for
minutes: the end of a long outage would be noticed late."""
_MARGIN = 5.0
"""Seconds that an answer may be late after the server's own time limit before its connection is given up."""

_SESSION = f"""
SELECT {ORIGIN}, set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', %s, false), set_config('TimeZone', 'UTC', false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('enable_seqscan', 'off', false), set_config('plan_cache_mode', %s, false)"""
"""Without enable_seqscan: a plan is kept for long, and may be made while a table is still empty. One plan for
all values: the server would else plan anew for each array, which takes it longer than the look-ups."""


class _Connection(WatchedConnection):
    """A connection that hangs up when what it does can be repeated and nobody waits for it any more.

    The driver would ask the server to cancel, and wait ten seconds for one that does not answer.
    """

    repeatable = True
    met = 0
    """The number of the incarnation that it was made to."""

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - the driver's
        """End what is under way; the driver calls this when a task is cancelled in it."""
        if self.repeatable:
            _hang_up(self)
        else:
            await super().cancel_safe(timeout=timeout)


def _hang_up(connection: psycopg.AsyncConnection) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as end, contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # fails where the server has hung up itself


class Connections:
    """The store's connections (see EventStore for the parameters).

    Statements are planned once for all values; with `plans` "auto" the server plans for the values where it
    thinks that better, for statements that are put together as somebody asks. `incarnation` is the process's,
    where it has more connections than these.
    """

    def __init__(
        self,
        postgres_url: str,
        *,
        readers: int,
        statement_timeout: float,
        lock_timeout: float,
        idle_timeout: float,
        pool_timeout: float,
        turn_timeout: float = 5.0,
        plans: Plans = "force_generic_plan",
        incarnation: Incarnation | None = None,
    ) -> None:
        self.incarnation = incarnation or Incarnation()
        self._url = postgres_url
        timeouts = (f"{int(limit * 1000)}ms" for limit in (statement_timeout, lock_timeout, idle_timeout))
        self._session = [*timeouts, plans]
        self._patience = statement_timeout + _MARGIN
        self._turn_timeout = turn_timeout
        self._pool = AsyncConnectionPool[_Connection](
            postgres_url,
            connection_class=_Connection,
            min_size=1,
            max_size=readers,
            timeout=pool_timeout,
            reconnect_timeout=_RECONNECT,
            open=False,
            kwargs=LASTING,
            configure=self._configure,
            name="store",
        )
        self._own = OwnConnection(self._connect)
        self._writer: Writer | None = None
        self._written_to = 0
        self._writing = asyncio.Lock()
        self._in_line = 0

    async def open(self) -> None:
        """Begin to connect; does not wait for the database."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        if self._writer is not None:
            await self._writer.close()
        await self._own.close()
        await self._pool.close()

    async def write(
        self, statement: bytes, values: Sequence[Packed], incarnation: int | None = None
    ) -> tuple[Any, ...]:
        """Run a statement that is a transaction of its own, and return its one row.

        With the number of an `incarnation` it is run there or nowhere: else it raises StoreUnavailable.
        """
        [row] = await self._rows(statement, values, incarnation)
        return row

    async def read_to_append(self, statement: bytes, values: Sequence[Packed]) -> list[tuple[Any, ...]]:
        """Run a statement that changes nothing on the connection that appends, and return its rows.

        For who appends next, and would wait for that connection anyway: the way to it is the shortest.
        """
        try:
            return await self._rows(statement, values, None)
        except AmbiguousCommit as error:
            raise StoreUnavailable(str(error)) from error

    async def _rows(
        self, statement: bytes, values: Sequence[Packed], incarnation: int | None
    ) -> list[tuple[Any, ...]]:
        writer = await self._turn()
        try:
            self.incarnation.require(incarnation)
            return await writer.rows(statement, values)
        except psycopg.Error as error:
            raise explained(error, connected=not writer.connection.closed) from error
        except asyncio.CancelledError:
            await writer.close()  # it may be in the middle of an answer
            raise
        finally:
            self._writing.release()

    async def fetch(
        self,
        statement: bytes,
        values: Sequence[Any],
        *,
        prepare: bool = True,
        incarnation: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run a statement that can be repeated, and return its rows.

        With `prepare` off it is planned for its values, each time. `incarnation` is as with `write`.
        """
        for last in (False, True):
            async with self._reader() as connection:
                self.incarnation.require(incarnation)
                patience = _Patience(partial(_hang_up, connection), self._patience)
                try:
                    with patience:
                        async with connection.cursor(binary=True) as cursor:
                            await cursor.execute(statement, values, prepare=prepare)
                            return await cursor.fetchall()
                except psycopg.OperationalError as error:
                    if last or patience.lost or not connection.closed:
                        raise StoreUnavailable(str(error)) from error
                except psycopg.Error as error:
                    raise explained(error, connected=True) from error
            await self._pool.check()  # the server was away: drop whatever died with it
        raise AssertionError

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[psycopg.AsyncConnection]:
        """Lend a connection in a transaction; see EventStore.transaction."""
        committing = False
        async with self._reader() as connection:
            connection.repeatable = False  # it may hold locks, which a server asked to cancel lets go at once
            try:
                async with connection.transaction():
                    yield connection
                    if connection.closed:  # the driver would leave without a word
                        raise StoreUnavailable("the connection was lost before the commit")
                    committing = True
            except psycopg.Error as error:
                if connection.closed and not committing:
                    raise StoreUnavailable(str(error)) from error
                raise explained(error, connected=not connection.closed) from error
            finally:
                connection.repeatable = True

    async def _turn(self) -> Writer:
        """Wait for a turn to write, and for a connection: nothing is sent before that.

        Who waits too long gives up; the attempt to connect goes on for whoever comes next.
        Whoever gets it has to release `_writing`.
        """
        free = not self._in_line and not self._writing.locked()
        if free and self._writer is not None and self._stands(self._writer):
            await self._writing.acquire()  # does not wait; a time limit would cost more than all of this
            return self._writer
        self._in_line += 1
        try:
            async with asyncio.timeout(self._turn_timeout):
                await self._writing.acquire()
                try:
                    return await self._connected()
                except BaseException:
                    self._writing.release()
                    raise
        except TimeoutError as error:
            raise StoreUnavailable("no turn to write: the database does not answer") from error
        finally:
            self._in_line -= 1

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[_Connection]:
        connection = await self._taken()
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    async def _taken(self) -> _Connection:
        """Return a connection of the pool; those to a former incarnation are dropped."""
        while True:
            try:
                connection = await self._pool.getconn()
            except (PoolTimeout, PoolClosed) as error:
                raise StoreUnavailable("no connection to the database") from error
            if connection.met == self.incarnation.number:
                return connection
            await connection.close()
            await self._pool.putconn(connection)

    def _stands(self, writer: Writer) -> bool:
        return self._written_to == self.incarnation.number and not writer.lost()

    async def _connected(self) -> Writer:
        if self._writer is not None:
            if self._stands(self._writer):
                return self._writer
            await self._writer.close()
        try:
            connection = await self._own.get()
        except (psycopg.Error, OSError) as error:
            raise StoreUnavailable(f"no connection to the database: {error}") from error
        self._writer, self._written_to = Writer(connection, self._patience), connection.met
        return self._writer

    async def _connect(self) -> _Connection:
        connection = await _Connection.connect(self._url, **LASTING)
        try:
            await self._configure(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _configure(self, connection: _Connection) -> None:
        cursor = await connection.execute(_SESSION.encode(), self._session)
        [(origin, *_)] = await cursor.fetchall()
        connection.met = self.incarnation.met(origin)


class _Patience:
    """Cuts a connection whose server has not answered in time, which ends what waits for it.

    A time limit that cancels would first ask the server to cancel, and that one does not answer.
    """

    def __init__(self, hang_up: Callable[[], None], seconds: float) -> None:
        self._hang_up, self._seconds = hang_up, seconds
        self.lost = False

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._cut)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        self.lost = True
        self._hang_up()
