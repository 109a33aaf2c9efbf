"""Programs of an engine (servers, workers, clients): started, asked, and killed with all they started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from deploy.embedded.ports import LOOPBACK
from deploy.processes import CHECKOUT

PATIENCE = 60.0
"""Seconds that a program has to listen, or to be ready."""

_ANSWER_LIMIT = 2**20
"""Bytes of an answer at most: a latency for each saga."""


class Program:
    """A running program and its descendants; what it says to nobody goes into a file of the folder."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def started(cls, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> Program:
        """Start `command`, in the checkout, so that it finds our modules."""
        with (folder / "programs.log").open("ab") as said:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=said,
                cwd=CHECKOUT,
                env={**os.environ, **environment},
                limit=_ANSWER_LIMIT,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ready(self) -> None:
        """Wait until it says so."""
        async with asyncio.timeout(PATIENCE):
            await self._heard()

    async def ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Send a wish to a client, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        return await self._heard()

    async def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a peer's program ended ({await self._process.wait()})")
        return json.loads(line)

    async def kill(self) -> None:
        """End it and all that it started, as SIGKILL does."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            for process in (*root.children(recursive=True), root):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        await self._process.wait()


class Ensemble:
    """The programs of one engine, by name, with a folder of their own; all end with it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self._environment = folder, environment
        self._programs: dict[str, Program] = {}

    async def start(self, name: str, *command: str, **environment: str) -> Program:
        """Start a program, also again under its former name."""
        self._programs[name] = await Program.started(
            self.folder, command, {**self._environment, **environment}
        )
        return self._programs[name]

    def __getitem__(self, name: str) -> Program:
        return self._programs[name]

    @property
    def pids(self) -> list[int]:
        """The process ids of all of them."""
        return [program.pid for program in self._programs.values()]

    async def end(self) -> None:
        """Kill all of them."""
        await asyncio.gather(*(program.kill() for program in self._programs.values()))


async def listens(port: int) -> None:
    """Wait until somebody listens on the loopback port."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return
