"""What keeps a test run going: a test that hangs fails and tells where, a worker that ends is replaced.

A plugin of pytest. After the test's time (`timeout` in pyproject.toml, or its own mark) its coroutine is
cancelled where it waits, so that its fixtures are taken down as after any failure; what is not asyncio's gets
the failure as an exception. If neither ends it, `faulthandler_timeout` ends the worker, and another takes its
place.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType, MethodType
from typing import Any, Protocol, cast

import pytest
from _pytest.faulthandler import (
    fault_handler_stderr_fd_key,
    get_exit_on_timeout_config_value,
    get_timeout_config_value,
)
from xdist.scheduler import LoadFileScheduling

INSISTENCE = 0.2
"""Part of a test's time after which a cancelled coroutine that goes on is interrupted: it may block all."""


class Limit(Protocol):
    """What pytest-timeout knows of a test's limit."""

    timeout: float


class Timer:
    """The time of one test."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._told: asyncio.Future[Any] | None = None
        self._before = signal.signal(signal.SIGALRM, self._over)
        signal.setitimer(signal.ITIMER_REAL, limit, limit * INSISTENCE)

    def cancel(self) -> None:
        """Let the test alone: it is over, or has failed."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _over(self, _: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        frames = {each.f_code: each for each, _ in traceback.walk_stack(frame)}
        if _PHASE not in frames or (self._told and self._told.done()):
            return  # pytest is at work, or what follows: nothing of the test's
        loop = frames.get(_LOOP)
        if loop and not self._told:
            self._told = told = cast("asyncio.Future[Any]", loop.f_locals["future"])
            running = asyncio.get_running_loop()
            running.call_soon_threadsafe(told.cancel, f"over after {self._limit:g} s\n{where(running)}")
            return
        if _STEP not in frames:  # inside of a step the loop may have caught it
            signal.setitimer(signal.ITIMER_REAL, 0)
        pytest.fail(f"over after {self._limit:g} s\n{where(None)}")


_PHASE = cast("MethodType", pytest.CallInfo.from_call).__func__.__code__  # setup, call or teardown of a test
_LOOP = asyncio.BaseEventLoop.run_until_complete.__code__
_STEP = asyncio.Handle._run.__code__  # pyright: ignore[reportPrivateUsage] - told by its frame alone


def where(loop: asyncio.AbstractEventLoop | None) -> str:
    """Return where each other thread and each task of the loop stands."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = [
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()  # pyright: ignore[reportPrivateUsage] - its only name
        if ident != threading.get_ident()
    ]
    for task in asyncio.all_tasks(loop) if loop else ():
        lines = traceback.StackSummary.extract(_frames(task.get_coro())).format()
        stacks.append(f"Task {task.get_name()}:\n{''.join(lines)}")
    return "\n".join(stacks)


def _frames(coroutine: Any) -> Iterator[tuple[FrameType, int]]:
    """Go from a coroutine down to what it waits for in the end."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None:
            yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)


class FileByFile(LoadFileScheduling):
    """A worker for each file; when it dies, another goes on after the test that it died in.

    The stock scheduler gives a dead worker's files back as they are: the finished ones too, at which the next
    worker waits for ever, and the test that ended the worker, which ends the next.
    """

    def schedule(self) -> None:
        """Give out files, two to a worker: it starts a last test only when it knows what follows."""
        super().schedule()
        for node in self.nodes:
            self._reschedule(node)

    def remove_node(self, node: Any) -> str | None:
        """Take the worker out; return the test that it died in, which counts as done."""
        units = self.assigned_work.pop(node)
        died_in = next((test for tests in units.values() for test, done in tests.items() if not done), None)
        if died_in is not None:
            units[self._split_scope(died_in)][died_in] = True
        self.workqueue.update({scope: tests for scope, tests in units.items() if not all(tests.values())})
        for other in self.nodes if died_in else ():
            self._reschedule(other)
        return died_in

    def _assign_work_unit(self, node: Any) -> None:
        """Give a file to a worker; one that has died just now leaves it to `remove_node`."""
        with suppress(OSError):
            super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        if node in self.registered_collections:  # another may have just begun to collect
            super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Limit) -> bool:
    """Set the timer of a test; pytest-timeout calls `cancel_timeout` when the test is over."""
    timer = Timer(settings.timeout)
    item.cancel_timeout = timer.cancel  # type: ignore[attr-defined] - where pytest-timeout looks for it
    return True


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Set the last limit again, which pytest has lifted: a failed test still has fixtures to take down."""
    if isinstance(node, pytest.Item) and not node.config.getoption("usepdb"):
        faulthandler.dump_traceback_later(
            get_timeout_config_value(node.config),
            exit=get_exit_on_timeout_config_value(node.config),
            file=node.config.stash[fault_handler_stderr_fd_key],
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile | None:
    """Give workers whole files, as `--dist loadfile` says."""
    return FileByFile(config, log) if config.getvalue("dist") == "loadfile" else None
