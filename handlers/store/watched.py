"""A connection whose socket stays watched from one answer to the next.

The driver registers the socket with the event loop for each answer and removes it again, which costs as much
as all else that the loop does for a statement. Here it is registered once, and what has come is taken in the
turn in which the loop tells of it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Generator
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

Result = TypeVar("Result")
Steps: TypeAlias = Generator[Wait, Ready | int, Result]
"""What the driver does on a connection: it says what it waits for, and is told what is ready."""

LOOK = 1.0
"""Seconds after which who waits for an answer looks without having been woken.

libuv watches a socket no more once it has told of an error on it. Where a reset comes together with bytes
that were not read yet, the loop tells once, the bytes are read, and the reset behind them is found by a look.
"""

BUSY = 0.005
"""Seconds after which who never has to wait lets others have a turn of the loop, as the driver does."""

CANCELLING = 5.0
"""Seconds that a statement has to end in when who waited for it was cancelled."""


class _Done(NamedTuple):
    result: Any


class WatchedConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection of one event loop; between statements it takes in what comes, so it hears of its end."""

    _loop: asyncio.AbstractEventLoop | None = None
    _socket = -1
    _steps: Steps[Any] | None = None
    _answer: asyncio.Future[_Done | Wait]
    _looking: asyncio.TimerHandle
    _turn = 0.0

    async def wait(
        self,
        gen: Steps[Result],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's
    ) -> Result:
        """Go through the steps of something, and return what comes of it."""
        if timeout is not None:
            self.unwatch()
            return await super().wait(gen, interval, timeout)
        try:
            wanted = self._step(gen, None)
            while True:
                if not wanted & Wait.W:
                    wanted = await self._read(gen)
                    if isinstance(wanted, _Done):
                        return wanted.result
                elif ready := _ready(self.pgconn.socket, wanted):
                    await self._give_way()
                    wanted = self._step(gen, ready)
                else:  # the server is slow to take what is sent
                    self.unwatch()
                    return await super().wait(_resumed(gen, wanted), interval)
        except StopIteration as end:
            await self._give_way()
            return end.value

    async def close(self) -> None:
        """Close the connection."""
        self.unwatch()
        await super().close()

    def unwatch(self) -> None:
        """Leave the socket to whoever watches it next; a closed one must not be: its number comes back."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop = None

    def _watch(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop, self._socket = asyncio.get_running_loop(), self.pgconn.socket
            self._loop.add_reader(self._socket, self._take)
        return self._loop

    async def _read(self, steps: Steps[Any]) -> _Done | Wait:
        """Go on with steps that wait for an answer; returns when they have ended, or want to write."""
        loop = self._watch()
        self._steps, self._answer = steps, loop.create_future()
        self._looking = loop.call_later(LOOK, self._look)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self._steps = None
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                await self._cancel(steps)
            raise
        finally:
            self._looking.cancel()
            self._turn = monotonic()

    def _take(self) -> None:
        """Take what has come: as the next step of whoever waits, or for nobody yet."""
        if self._steps is None:
            with suppress(psycopg.OperationalError):
                self.pgconn.consume_input()
            self._see_end()
            return
        try:
            outcome = self._step(self._steps, Ready.R)
            if not outcome & Wait.W:
                return
        except StopIteration as end:
            outcome = _Done(end.value)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            outcome = error
        self._steps = None
        if self._answer.done():
            return
        if isinstance(outcome, Exception):
            self._answer.set_exception(outcome)
        else:
            self._answer.set_result(outcome)

    def _look(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)
        self._take()

    def _step(self, steps: Steps[Any], ready: Ready | int | None) -> Wait:
        try:
            return next(steps) if ready is None else steps.send(ready)
        finally:
            self._see_end()

    def _see_end(self) -> None:
        """Watch no more when libpq has given up the connection: it has closed the socket."""
        if self.pgconn.status == ConnStatus.BAD:
            self.unwatch()

    async def _give_way(self) -> None:
        if monotonic() - self._turn >= BUSY:
            await asyncio.sleep(0)
            self._turn = monotonic()

    async def _cancel(self, steps: Steps[Any]) -> None:
        """Have the server end what nobody waits for any more; where that fails the connection ends."""
        self.unwatch()
        try:
            with suppress(Exception):
                await self.cancel_safe(timeout=CANCELLING)
            await super().wait(_resumed(steps, Wait.R), timeout=CANCELLING)
        except psycopg.errors.QueryCanceled:
            pass
        except BaseException as error:
            self.pgconn.finish()
            if not isinstance(error, Exception):
                raise


def _ready(socket: int, wanted: Wait) -> int:
    """Return what of `wanted` is ready; nearly always a socket can be written to."""
    look = select.poll()
    look.register(socket, select.POLLOUT | (select.POLLIN if wanted & Wait.R else 0))
    ready = 0
    for _, events in look.poll(0):
        ready |= (Ready.R if events & select.POLLIN else 0) | (Ready.W if events & select.POLLOUT else 0)
    return ready


def _resumed(steps: Steps[Result], wanted: Wait) -> Steps[Result]:
    """Go on with steps that have begun, for who begins with `next`."""
    try:
        while True:
            wanted = steps.send((yield wanted))
    except StopIteration as end:
        return end.value
