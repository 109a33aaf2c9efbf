"""The connection that appends: libpq's own calls, on the driver's connection.

A lone command waits for its append and for little else, and the driver's cursor took a sixth of that time:
it adapts each value, and watches the socket anew for each answer. Here values come packed, and the socket
is watched as long as the connection lives.
"""

from __future__ import annotations

import asyncio
import re
import select
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from handlers.store.packing import Packed
from handlers.store.watched import LOOK, WatchedConnection

_WELL = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Writer:
    """Runs one statement at a time on a connection in autocommit, which belongs to it from now on.

    A connection whose server has not answered for `patience` seconds is cut. A time limit that cancels would
    first ask the server to cancel, and that one does not answer.
    """

    def __init__(self, connection: WatchedConnection, patience: float) -> None:
        self.connection = connection
        self._patience = patience
        self._libpq = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = connection.fileno()
        self._names: dict[bytes, bytes] = {}
        self._results: list[PGresult] = []
        self._answer: asyncio.Future[PGresult] | None = None
        self._asked_at = 0.0
        self._rows = Transformer(connection)
        connection.unwatch()
        self._loop.add_reader(self._socket, self._read)
        self._watching = True
        self._blocked = False
        self._looking = self._loop.call_later(LOOK, self._look)
        self._came = select.poll()
        self._came.register(self._socket, select.POLLIN)

    def lost(self) -> bool:
        """Return whether the connection has ended.

        Ask before every append, so that a server that was restarted meanwhile is not an ambiguous commit.
        The first look may find the server's farewell, the second the end behind it; mostly nothing has come.
        """
        for _ in range(2):
            if self._watching and self._came.poll(0):
                self._read()
        return not self._watching

    async def close(self) -> None:
        """Close the connection; who waits for an answer gets an error."""
        self._stop_watching()
        self._fail(psycopg.OperationalError("the connection was closed"))
        await self.connection.close()

    async def rows(self, statement: bytes, values: Sequence[Packed]) -> list[tuple[Any, ...]]:
        """Run a statement with placeholders `%s`, and return its rows. Raises psycopg.Error.

        Whoever is cancelled in it has to close the connection, which may be in the middle of an answer.
        """
        name = self._names.get(statement)
        if name is None:
            name = b"statement_%d" % len(self._names)
            types = [value.oid for value in values]
            await self._answered(partial(self._libpq.send_prepare, name, _numbered(statement), types))
            self._names[statement] = name
        formats = [Format.BINARY] * len(values)
        data = [value.data for value in values]
        send = partial(self._libpq.send_query_prepared, name, data, formats, Format.BINARY)
        result = await self._answered(send)
        self._rows.set_pgresult(result, format=Format.BINARY)
        return self._rows.load_rows(0, result.ntuples, tuple)

    async def _answered(self, send: Callable[[], None]) -> PGresult:
        """Send something, and return the result. Raises psycopg.Error."""
        self._answer = self._loop.create_future()
        self._asked_at = self._loop.time()
        try:
            self._sent(send)
            self._write()
            result = await self._answer
        finally:
            self._answer = None
        if result.status not in _WELL:
            raise error_from_result(result)
        return result

    def _sent(self, send: Callable[[], None]) -> None:
        try:
            send()
        except psycopg.OperationalError:
            self._stop_watching()
            raise

    def _write(self) -> None:
        """Send until the socket takes no more, and go on when it does."""
        try:
            more = self._libpq.flush()
        except psycopg.OperationalError as error:
            self._stop_watching()
            self._fail(error)
            return
        if more:
            self._loop.add_writer(self._socket, self._write)
            self._blocked = True
        elif self._blocked:
            self._loop.remove_writer(self._socket)
            self._blocked = False

    def _look(self) -> None:
        """Take what the loop has not told of, and cut a connection whose server does not answer."""
        self._looking = self._loop.call_later(LOOK, self._look)
        self._read()
        waiting = self._answer is not None and not self._answer.done()
        if waiting and self._loop.time() > self._asked_at + self._patience:
            self._hang_up()

    def _hang_up(self) -> None:
        self._stop_watching()
        self._libpq.finish()
        self._fail(psycopg.OperationalError("no answer in time"))

    def _read(self) -> None:
        """Take what has come; the end of the connection comes this way, too."""
        try:
            self._libpq.consume_input()
        except psycopg.OperationalError as error:
            self._stop_watching()
            self._fail(error)
            return
        while not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                self._finish()
                break
            self._results.append(result)
        if self.connection.closed:
            self._stop_watching()
            self._fail(psycopg.OperationalError("the connection was lost"))

    def _finish(self) -> None:
        results, self._results = self._results, []
        if results and self._answer is not None and not self._answer.done():
            self._answer.set_result(results[0])

    def _fail(self, error: psycopg.Error) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _stop_watching(self) -> None:
        """Watch the socket no more, at once when the connection ends.

        libpq closes the socket then, and the next connection may get its number.
        """
        if self._watching:
            self._watching = False
            self._looking.cancel()
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)


def _numbered(statement: bytes) -> bytes:
    """Return a statement with PostgreSQL's own placeholders in the place of `%s`."""
    numbers = count(1)
    return re.sub(rb"%s", lambda _: b"$%d" % next(numbers), statement)
