"""Processes of a server that still run although nobody supervises them, found by the lock they hold.

A server and all its children have its lock file open from start to end. So the lock is free exactly when
none of them runs, and a process that has the file open is one of them, whatever its number or name.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import structlog

from deploy.embedded.errors import EmbeddedError

log = structlog.get_logger()

LOCK = "server.lock"
PATIENCE = 2.0  # seconds


def is_held(lock_file: Path) -> bool:
    """Whether a process of the server runs."""
    try:
        lock = os.open(lock_file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def holders(lock_file: Path) -> list[int]:
    """Return the processes that have the lock file open; where there is no /proc, the recorded one."""
    if not Path("/proc/self/fd").exists():
        return _recorded(lock_file)
    status = lock_file.stat()
    identity = (status.st_dev, status.st_ino)
    others = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in others if pid != os.getpid() and identity in _open_files(pid)]


def _open_files(pid: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            status = entry.stat()
            found.add((status.st_dev, status.st_ino))
    except OSError:
        return found  # it ended or closed a file meanwhile, or is another user's
    return found


def _recorded(lock_file: Path) -> list[int]:
    # Asked only while the lock is held, and the process that took it wrote its number into it.
    text = lock_file.read_text().strip()
    return [int(text)] if text.isdigit() else []


async def end(
    folder: Path,
    gentle: signal.Signals,
) -> None:
    """End what still runs of the server in a folder: it gets PATIENCE seconds, then SIGKILL.

    Raises EmbeddedError when something survives, such as a process of another user.
    """
    lock_file = folder / LOCK
    if not await asyncio.to_thread(is_held, lock_file):
        return
    found = await asyncio.to_thread(holders, lock_file)
    log.debug("waiting for what is left of a server", folder=str(folder), pids=found)
    leader = [pid for pid in await asyncio.to_thread(_recorded, lock_file) if pid in found]
    send(found, signal.SIGCONT)
    send(leader, gentle)
    if await _released(lock_file, PATIENCE):
        return
    found = await asyncio.to_thread(holders, lock_file)
    log.warning("killing what is left of a server", folder=str(folder), pids=found)
    send(found, signal.SIGKILL)
    if not await _released(lock_file, 10.0):
        raise EmbeddedError(
            f"an earlier server still runs on {folder} and cannot be ended "
            f"(processes {await asyncio.to_thread(holders, lock_file) or 'of another user'}): end it first"
        )


async def _released(lock_file: Path, patience: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while await asyncio.to_thread(is_held, lock_file):
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each of the processes that is still there, and ours."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue
