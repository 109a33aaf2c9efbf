"""One server as a child process: started through `launch`, awaited, signalled, ended."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.embedded import leftovers, ports
from deploy.embedded.account import Account
from deploy.embedded.errors import EmbeddedError, PortTakenError

ServerName = Literal["nats", "postgres"]

_LAUNCH = Path(__file__).with_name("launch.py")
LOG_LIMIT = 16 * 1024 * 1024  # bytes; a longer log is set aside at the next start
START_LIMIT = 180.0  # seconds; crash recovery on a busy machine takes its time
STOP_LIMIT = 10.0  # seconds for each of the stop signals


class NotReadyError(Exception):
    """The server does not answer yet."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a server is run: its command, where, as whom, how it is stopped and when it is ready."""

    name: ServerName
    command: Sequence[str]
    folder: Path
    log: Path
    port: int
    account: Account | None
    stop_signals: Sequence[signal.Signals]
    """Sent in this order, each with its time, before SIGKILL."""
    death_signal: signal.Signals
    """What the kernel sends when the supervisor dies."""
    prepare: Callable[[], None]
    """Called before each start, while nothing of the server runs; may read and write files."""
    check: Callable[[], Awaitable[None]]
    """Returns when the server answers; raises NotReadyError to be asked again, EmbeddedError to give up."""
    settle: Callable[[], Awaitable[None]] | None = None
    """Called before a stop: has the server do beforehand what would make its stop long. Raises nothing."""
    stop_within: float = 0.0
    """Seconds for `settle` and for the first stop signal, where STOP_LIMIT is less."""
    memory: int | None = None
    """Bytes of its own that each of the server's processes may have (Linux); None: as many as it likes."""


def launch(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    account: Account | None,
    death_signal: signal.Signals,
    lock: Path | None = None,
    memory: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a folder, its output appended to the log; it dies with the calling thread."""
    spec = {
        "parent": os.getpid(),
        "account": [account.name, account.uid, account.gid] if account else None,
        "death_signal": int(death_signal),
        "lock": str(lock) if lock else None,
        "memory": memory,
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), json.dumps(spec), *command],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for the supervisor, which then stops us
        )


def _environment() -> Mapping[str, str]:
    # Nothing of ours but what Python itself may need to start: no PG* settings, no secrets.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"} | kept


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end and return its exit status; cancelling leaves the process alone."""
    loop = asyncio.get_running_loop()
    if process.poll() is None:
        gone = asyncio.Event()
        try:
            descriptor = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            # No pidfd here. A daemon thread, so that a process that outlives us does not hold us up.
            waiter = threading.Thread(target=_wait_then, args=(process, loop, gone), daemon=True)
            waiter.start()
            await gone.wait()
        else:
            try:
                loop.add_reader(descriptor, gone.set)
                await gone.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
    return process.wait()


def _wait_then(
    process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, gone: asyncio.Event
) -> None:
    process.wait()
    if not loop.is_closed():
        loop.call_soon_threadsafe(gone.set)


async def _end(
    process: subprocess.Popen[bytes], signals: Iterable[signal.Signals], first_within: float = 0.0
) -> None:
    limit = max(first_within, STOP_LIMIT)
    for number in signals:
        if process.poll() is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(limit):
                await ended(process)
        except TimeoutError:
            limit = STOP_LIMIT
            continue
        return
    process.kill()
    await ended(process)


class Server:
    """One server under supervision; at most one process of it at a time."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the server's latest process."""
        if self._process is None:
            raise EmbeddedError(f"{self.program.name} was not started")
        return self._process.pid

    async def start(self) -> None:
        """Start the server and wait until it answers, first ending what is left of an earlier one.

        Raises PortTakenError, or EmbeddedError with the end of its log when it does not come up.
        """
        program = self.program
        if self._process is not None:
            await _end(self._process, program.stop_signals)  # it ran without ever answering
        await leftovers.end(program.folder, program.stop_signals[-1])
        if not ports.is_free(program.port):
            raise PortTakenError(program.name, program.port)
        await asyncio.to_thread(_set_long_log_aside, program.log)
        await asyncio.to_thread(program.prepare)
        self._process = launch(
            program.command,
            folder=program.folder,
            log=program.log,
            account=program.account,
            death_signal=program.death_signal,
            lock=program.folder / leftovers.LOCK,
            memory=program.memory,
        )
        await self._ready(self._process)

    async def _ready(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_LIMIT
        pause = 0.01
        while True:
            if process.poll() is not None:
                raise self._gave_up(f"ended with status {process.returncode} instead of starting")
            try:
                await self.program.check()
            except NotReadyError as reason:
                if loop.time() > deadline:
                    raise self._gave_up(f"does not answer ({reason})") from reason
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.2)
            else:
                return

    def _gave_up(self, what: str) -> EmbeddedError:
        program = self.program
        if self._process and self._process.poll() is not None and not ports.is_free(program.port):
            return PortTakenError(program.name, program.port)
        return EmbeddedError(f"{program.name} {what}; {program.log} ends with:\n{tail(program.log)}")

    async def ended(self) -> int:
        """Wait until the server's process ends and return its exit status."""
        if self._process is None:
            raise EmbeddedError(f"{self.program.name} was not started")
        return await ended(self._process)

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop the server, cleanly if it lets us and we are not in haste; nothing of it runs afterwards."""
        self.resume()
        signals = self.program.stop_signals
        if self._process is not None and at_once:
            await _end(self._process, signals[-1:])
        elif self._process is not None:
            await self._settle()
            await _end(self._process, signals, self.program.stop_within)
        await leftovers.end(self.program.folder, self.program.stop_signals[-1])
        self._process = None

    async def _settle(self) -> None:
        if self.program.settle is not None and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.program.stop_within):
                    await self.program.settle()

    def hurry(self) -> None:
        """Have a server that is being stopped end at once; it has to recover at its next start."""
        self.resume()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.program.stop_signals[-1])

    async def kill(self) -> None:
        """SIGKILL the server's process and wait until it is dead; its children may live on for a moment."""
        if self._process is not None:
            self._process.kill()
            await ended(self._process)

    def pause(self) -> None:
        """Stop the server's processes in their tracks, the first one first."""
        frozen: set[int] = set()
        # Until the first one stands still it makes children that an earlier look has missed.
        while new := [pid for pid in self._family() if pid not in frozen]:
            leftovers.send(new, signal.SIGSTOP)
            frozen.update(new)

    def resume(self) -> None:
        """Let the server's processes go on."""
        leftovers.send(reversed(self._family()), signal.SIGCONT)

    def _family(self) -> list[int]:
        process = self._process
        if process is None or process.poll() is not None:
            return []
        return [process.pid, *children(process.pid)]


def children(pid: int) -> list[int]:
    """Return the process's children, oldest first; none where the system has no /proc."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # that thread ended meanwhile
    return found


def tail(log: Path, lines: int = 8) -> str:
    """Return the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(nothing)"


def _set_long_log_aside(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".old.log"))
