"""From a door to the worker that owns a command's partition, and the reply back.

Who decides a command never matters for what comes of it: the append checks versions, the ledger knows
repeats. So where the owner is not known, gone or silent, it is decided here. What was sent to it may have
been decided there without a reply; then nothing that only this process knows of (that it is busy, or
without its database) is an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import NamedTuple
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.bus.routing import wire
from handlers.bus.routing.outgoing import Outgoing
from handlers.bus.routing.owners import Owners
from handlers.execution.decode import Request
from handlers.execution.executor import Executor, awaited
from handlers.execution.metrics import CommandMetrics
from handlers.execution.reply import Reply, received
from handlers.wire.headers import ERROR, ERROR_CODE, NOT_TAKEN
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

LOOK = 0.1
"""Seconds between two looks at what has no reply. An owner not heard meanwhile is asked whether it lives."""

SILENCE = 0.5
"""Seconds in which an owner that lives says so. It is one turn of its loop: what takes longer hangs."""

PATIENCE = 3.0
"""Seconds for a reply of an owner that lives, beyond those that a command may wait for the database there."""

_NOTHING_DONE = ("unavailable", "rate-limited")
_RETRY, _TRIES = 1.0, 30
"""Seconds between two tries to find out what came of a command, and how many: nobody waits longer."""


class _Sent(NamedTuple):
    """A command that was sent to `owner`, at a time of the loop's clock."""

    owner: UUID
    request: Request
    done: Callable[[Reply], None]
    at: float


class Forwarder:
    """Stands between the doors and the executor of a process, from `start` to `stop`.

    `me` is the worker in this process, None where there is none. At most `most` commands of `most_bytes`
    are with other workers at a time; those beyond are decided here, where the executor says when there are
    too many.
    """

    def __init__(
        self,
        connection: Callable[[], Client],
        subjects: Subjects,
        owners: Owners,
        executor: Executor,
        metrics: CommandMetrics,
        *,
        me: UUID | None = None,
        most: int = 10_000,
        most_bytes: int = 64 * 1024 * 1024,
        silence: float = SILENCE,
        patience: float = PATIENCE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._owners = owners
        self._executor = executor
        self._metrics = metrics
        self._me = me
        self._most, self._most_bytes = most, most_bytes
        self._silence, self._patience = silence, patience
        self._clock = clock
        self._outgoing = Outgoing(connection)
        self._inbox = ""
        self._number = 0
        self._sent: dict[str, _Sent] = {}
        self._bytes = 0
        self._heard: dict[UUID, float] = {}
        self._asked: dict[UUID, float] = {}
        self._silent: set[UUID] = set()
        self._reconnects = 0
        self._looking: asyncio.TimerHandle | None = None
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to forward."""
        nc = self._connection()
        inbox = nc.new_inbox()
        self._subscription = await nc.subscribe(f"{inbox}.*", cb=self._answered)
        self._reconnects = nc.stats["reconnects"]
        await self._outgoing.start()
        self._inbox = inbox

    async def stop(self, grace: float = 3.0) -> None:
        """Forward no more, and wait for replies; what has none in `grace` seconds is decided here."""
        self._inbox = ""
        until = self._clock() + grace
        while self._sent and self._clock() < until:  # noqa: ASYNC110 - replies come one by one
            await asyncio.sleep(0.01)
        self._take_back(list(self._sent))
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        await self._outgoing.stop()
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._connection().is_closed:
            await subscription.unsubscribe()

    async def execute(self, request: Request) -> Reply:
        """Have one command settled, and return its outcome (see Executor.execute)."""
        return await awaited(self.submit, request)

    def submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        """Have one command settled; `done` gets its outcome."""
        owner = self._owners.of(request.tenant_id)
        if owner is None or owner == self._me or owner in self._silent or not self._may_send(request):
            self._executor.submit(request, done)
        else:
            self._send(owner, request, done)

    def _may_send(self, request: Request) -> bool:
        room = len(self._sent) < self._most and self._bytes + request.size <= self._most_bytes
        return room and bool(self._inbox) and self._connection().is_connected

    def _send(self, owner: UUID, request: Request, done: Callable[[Reply], None]) -> None:
        self._number += 1
        number = str(self._number)
        self._sent[number] = _Sent(owner, request, done, self._clock())
        self._bytes += request.size
        self._outgoing.send(self._subjects.worker(owner), wire.encoded(request), f"{self._inbox}.{number}")
        self._look_soon()

    async def _answered(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        headers = message.headers or {}
        nobody = headers.get("Status") == "503"  # says the server, of a subject without a subscription
        if "-" in token:
            (self._give_up if nobody else self._lives)(UUID(token))
            return
        if token not in self._sent:
            return
        owner, request, done, _ = self._forget(token)
        if nobody:
            self._give_up(owner)
        else:
            self._lives(owner)
        taken = not nobody and NOT_TAKEN not in headers
        self._metrics.forwarded(replied=taken)
        if not taken:
            self._executor.submit(request, done)
        else:
            done(received(message.data, headers.get(ERROR), headers.get(ERROR_CODE, "500")))

    def _lives(self, owner: UUID) -> None:
        self._heard[owner] = self._clock()
        self._asked.pop(owner, None)
        self._silent.discard(owner)

    def _forget(self, number: str) -> _Sent:
        sent = self._sent.pop(number)
        self._bytes -= sent.request.size
        return sent

    def _look_soon(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _look(self) -> None:
        """Take back what no reply will come for, as far as that can be seen."""
        self._looking = None
        nc, now = self._connection(), self._clock()
        if not nc.is_connected or nc.stats["reconnects"] != self._reconnects:
            self._reconnects = nc.stats["reconnects"]
            self._take_back(list(self._sent))
        self._take_back([each for each, sent in self._sent.items() if now > sent.at + self._patience])
        for owner in [owner for owner, asked in self._asked.items() if now > asked + self._silence]:
            self._give_up(owner)
        self._silent &= set(filter(None, self._owners.all))
        for owner in {sent.owner for sent in self._sent.values() if now > sent.at + LOOK / 2} | self._silent:
            if owner not in self._asked and now > self._heard.get(owner, 0.0) + LOOK / 2:
                self._ask(owner, now)
        if self._sent or self._silent:
            self._look_soon()
        else:
            self._asked.clear()
            self._heard.clear()

    def _ask(self, owner: UUID, now: float) -> None:
        """Ask an owner whether it lives: an empty message."""
        if self._inbox and self._connection().is_connected:
            self._asked[owner] = now
            self._outgoing.send(self._subjects.worker(owner), b"", f"{self._inbox}.{owner}")

    def _give_up(self, owner: UUID) -> None:
        """Decide here what was sent to an owner that is gone, and all for it until it is heard again."""
        self._asked.pop(owner, None)
        if owner not in self._silent:
            log.info("commands of another worker are decided here", owner=str(owner))
        self._silent.add(owner)
        self._take_back([number for number, sent in self._sent.items() if sent.owner == owner])
        self._look_soon()

    def _take_back(self, numbers: Iterable[str]) -> None:
        for number in numbers:
            sent = self._forget(number)
            self._metrics.forwarded(replied=False)
            self._find_out(sent.request, sent.done, _TRIES)

    def _find_out(self, request: Request, done: Callable[[Reply], None], tries: int) -> None:
        """Decide a command here that may have been decided elsewhere; without a sure answer none is given."""
        self._executor.submit(request, partial(self._found_out, request, done, tries))

    def _found_out(self, request: Request, done: Callable[[Reply], None], tries: int, reply: Reply) -> None:
        if reply.problem not in _NOTHING_DONE:
            done(reply)
        elif tries > 0 and self._inbox:
            again = partial(self._find_out, request, done, tries - 1)
            asyncio.get_running_loop().call_later(_RETRY, again)
