"""A process with the role `commands`, which a test may kill, stop and continue."""

import asyncio
import os
import signal
import sys
from typing import Self

from handlers.wire.subjects import Streams, Subjects
from tests.handlers.bus.commands.service import role_on
from tests.support.bus import Bus


class Worker:
    """A worker in a process of its own, on the names of a bus; killed at the end of the block."""

    def __init__(self, nats_url: str, postgres_url: str, bus: Bus) -> None:
        names = (bus.subjects.prefix, *bus.streams)
        self._command = [sys.executable, "-m", __name__, nats_url, postgres_url, *names]

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout
        assert await self.process.stdout.readline() == b"ready\n"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        """End the process without warning."""
        self.process.kill()
        await self.process.wait()


async def main(nats_url: str, postgres_url: str, prefix: str, *streams: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus = Bus(None, Subjects(prefix), Streams(*streams))  # pyright: ignore[reportArgumentType]
    async with role_on(nats_url, postgres_url, bus, lease=1.0, tick=0.1):
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
