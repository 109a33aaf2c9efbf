"""An event loop with a virtual clock and a seeded scheduler, for processes that can be killed and paused.

Within a process callbacks run in their order, as asyncio promises. Which process goes on next, and which
request on its way arrives next, is chance. Time passes only when nobody has anything to do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from random import Random
from typing import Any, cast


class Violation(Exception):
    """Something happened that must never happen."""


class Restless(Violation):
    """It never comes to rest."""


class Call:
    """A callback that was asked for."""

    __slots__ = ("args", "callback", "off", "process")

    def __init__(self, process: Process, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.process, self.callback, self.args, self.off = process, callback, args, False

    def cancel(self) -> None:
        """Do not run it."""
        self.off = True


class Process:
    """What dies together: tasks, and whatever they know. `awake_for` counts its steps since it last slept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Call] = deque()
        self.dead = self.paused = self.slept = False
        self.awake_for = 0


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address, so that a schedule can be replayed."""

    def __init__(self, number: int, coroutine: Coroutine[Any, Any, Any], loop: VirtualLoop) -> None:
        self._number, self.process = number, loop.current
        super().__init__(coroutine, loop=cast("asyncio.AbstractEventLoop", loop), name="task")
        asyncio._unregister_task(
            self
        )  # nobody asks for all tasks; there its twins of former schedules collide
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self._number


class VirtualLoop:
    """Has what the saga runner uses of an event loop; anything else is an AttributeError.

    `moments` are (step, what happens before it), the next one last: steps are the callbacks that workers have
    run so far, so between two of them somebody stands at an await. `idle` is asked when nobody has anything
    to do, and ends the run by True.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 0.0
        self.steps = 0
        self.outside = self.current = Process("outside")
        self.processes: list[Process] = []
        self.requests: list[Call] = []
        self.moments: list[tuple[int, Callable[[], None]]] = []
        self.idle: Callable[[], bool] = _over
        self.trace: list[str] | None = None
        self.slow = 0.0
        """The share of requests that take time on their way."""
        self.course = 0
        """What was chosen so far, in one number: another order of things, or other trouble, gives another."""
        self._chance = random.random
        self._broken: str | None = None
        self._tasks: list[_Task] = []
        self._timers: list[tuple[float, int, Call]] = []
        self._numbers = 0

    # What asyncio asks for. Contexts are ignored: nothing here lives in context variables.

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: object = None) -> Call:
        process = self.current
        call = Call(process, callback, args)
        process.ready.append(call)
        return call

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: object = None
    ) -> Call:
        return self.call_at(self.now + delay, callback, *args)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: object = None
    ) -> Call:
        call = Call(self.current, callback, args)
        self._numbers += 1
        heappush(self._timers, (when, self._numbers, call))
        return call

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def create_task(self, coroutine: Coroutine[Any, Any, Any], **_: Any) -> asyncio.Task[Any]:
        self._numbers += 1
        task = _Task(self._numbers, coroutine, self)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        task = context.get("future")
        if isinstance(task, _Task) and not task.process.dead:
            self.violated(f"a task died: {context.get('exception')!r}")

    # What a schedule asks for.

    def send(self, callback: Callable[..., object], *args: Any) -> None:
        """Put a request of the present process on its way: `callback` is called when it arrives."""
        call = Call(self.current, callback, args)
        if self.slow and self.random.random() < self.slow:
            self.at(self.now + self.random.random(), self.requests.append, call)
        else:
            self.requests.append(call)

    def within(self, process: Process, callback: Callable[..., object], *args: Any) -> None:
        """Run `callback` now; what it asks for belongs to `process`."""
        former, self.current = self.current, process
        try:
            callback(*args)
        finally:
            self.current = former

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Run `callback` outside all processes at a time."""
        self.within(self.outside, self.call_at, when, callback, *args)

    def process(self, name: str) -> Process:
        """Begin a process."""
        process = Process(name)
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """End a process: nothing of it runs any more; each of its requests gets through, or is lost."""
        process.dead = True
        process.ready.clear()
        self.processes.remove(process)
        for call in self.requests:
            call.off |= call.process is process and self.random.random() < 0.5

    def note(self, what: str, *about: object) -> None:
        """Add a line to the trace: who did what."""
        if self.trace is not None:
            said = " ".join(map(str, about))
            self.trace.append(
                f"{self.now:8.3f} s  step {self.steps:4}  {self.current.name:8}  {what} {said}".rstrip()
            )

    def took_course(self, *what: object) -> None:
        """Tell this schedule from those in which `what` did not happen here."""
        self.course = hash((self.course, *what))

    def violated(self, what: str) -> None:
        """End the run at its next step; for those whose exceptions others would catch."""
        self._broken = self._broken or what

    def run(self, most_steps: int) -> None:
        """Run until `idle` says that it is over. Raises Violation, also when it is not over by then."""
        with self._running():
            while self._go_on():
                if self.steps > most_steps:
                    raise Restless
                if self._broken:
                    raise Violation(self._broken)

    @contextmanager
    def _running(self) -> Generator[None]:
        asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", self))  # pyright: ignore[reportPrivateUsage]
        try:
            yield
        finally:
            self.current = self.outside
            asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]

    def close(self) -> None:
        """Let go of all that is unfinished: what it still wants to do comes to nothing.

        It still runs here: a task that it begins as it ends would else be the thread's other event loop's.
        """
        with self._running():
            for task in self._tasks:  # those that are begun meanwhile, too
                if task.done():
                    continue
                task.process.dead = True
                coroutine = cast("Coroutine[Any, Any, Any]", task.get_coro())
                for _ in range(5):  # one that awaits in its `finally` needs more than one
                    with suppress(RuntimeError):
                        coroutine.close()
                        break
        self._tasks.clear()
        self._timers.clear()
        self.requests.clear()
        self.processes.clear()
        self.moments.clear()
        self.idle = _over

    def _go_on(self) -> bool:
        requests = self.requests
        ready = [process for process in self.processes if process.ready and not process.paused]
        count = len(ready) + len(requests)
        if not count:
            return self._pass_time()
        place = 0
        if count > 1:
            place = int(self._chance() * count)
            self.course = hash((self.course, place))
        if place < len(ready):
            self._step(ready[place])
            return True
        place -= len(ready)
        call, requests[place] = requests[place], requests[-1]
        requests.pop()
        self._call(call)
        return True

    def _step(self, process: Process) -> None:
        steps = self.steps
        if self.moments and steps >= self.moments[-1][0]:
            self.current = process
            moment = self.moments.pop()[1]
            self.took_course(steps, len(self.moments))
            moment()
            self.current = self.outside
            return
        self.steps = steps + 1
        process.awake_for += 1
        call = process.ready.popleft()
        if not call.off:
            self.current = process
            call.callback(*call.args)
            self.current = self.outside

    def _call(self, call: Call) -> None:
        if not call.off:
            self.current = call.process
            call.callback(*call.args)
            self.current = self.outside

    def _pass_time(self) -> bool:
        if self.idle():
            return False
        timers = self._timers
        while timers:
            when = timers[0][0]
            self.now = max(when, self.now)
            while timers and timers[0][0] <= when:
                call = heappop(timers)[2]
                if call.process is self.outside:
                    self._call(call)
                elif not call.off:
                    call.process.ready.append(call)
            return True
        raise Violation("nobody has anything to do any more")


def _over() -> bool:
    return True
