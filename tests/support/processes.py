"""Watching processes from a test."""

import asyncio
import os
from pathlib import Path

from tests.support.waiting import until, within


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not collected yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    """Wait until the process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with within(f"the end of process {pid}"):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def appears(file: Path) -> None:
    """Wait until the file is there."""
    await until(file.exists, f"the file {file}")


def processes_on(folder: Path) -> list[str]:
    """Return the command lines, of all processes, that mention the folder."""
    lines = (command_line(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [line for line in lines if str(folder) in line]


def command_line(pid: int) -> str:
    """Return what the process was started with; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Restarts(asyncio.Queue[str]):
    """The names of servers that came back, in order; put in by the supervisor's `on_restart`."""

    async def get(self) -> str:
        """Wait for the next one."""
        async with within("a server that comes back"):
            return await super().get()
