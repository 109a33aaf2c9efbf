"""Service processes of the development stack: started, watched, started again when they die, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from handlers.settings import SUPERVISED

_log = structlog.get_logger()

READY_WITHIN = 60.0
"""Seconds that a process has to say that it is ready: the first start on a slow machine takes a few."""

STOP_WITHIN = 10.0
"""Seconds that a process has to end by itself, after which it is killed; all it holds survives that."""

CHECKOUT = Path(__file__).resolve().parent.parent


class ProcessFailed(Exception):
    """A process of the service ended before it was ready; its own log says why."""


class ServiceProcess:
    """One `tenantctl serve` with some roles, alive from `start` to `stop`.

    It ends when its standard input closes, so it cannot outlive us, whatever we die of.
    """

    def __init__(self, name: str, roles: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.name = name
        self._roles = roles
        self._environment = {**os.environ, **environment, SUPERVISED: "1"}
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        """The process id of the present incarnation."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> dict[str, Any]:
        """Start the process and return what it says once it is ready.

        Raises ProcessFailed when it ends, or is silent for READY_WITHIN seconds, before that.
        """
        said = await self._spawn()
        self._watch = asyncio.create_task(self._keep_alive(), name=f"watch {self.name}")
        return said

    async def stop(self) -> None:
        """End the process and wait for its end."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN)
        except TimeoutError:
            _log.warning("process killed", process=self.name, waited=STOP_WITHIN)
            process.kill()
            await process.wait()

    def kill(self) -> None:
        """Have the process end at once, for a `stop` that is under way or follows."""
        if self._watch is not None:
            self._watch.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _spawn(self) -> dict[str, Any]:
        roles = [word for role in self._roles for word in ("--role", role)]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.tenantctl", "serve", "--json", *roles),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
            cwd=CHECKOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on, in order
        )
        self.starts += 1
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), READY_WITHIN)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise ProcessFailed(f"{self.name} was not ready within {READY_WITHIN:.0f} s.") from None
        if not line:
            code = await self._process.wait()
            raise ProcessFailed(f"{self.name} ended with exit code {code} before it was ready.")
        return json.loads(line)

    async def _keep_alive(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            _log.warning("process died, starting it again", process=self.name, exit_code=code)
            pause = 0.1
            while True:
                try:
                    await self._spawn()
                    break
                except ProcessFailed as failure:
                    _log.error("process did not start", process=self.name, why=str(failure), again_in=pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 5.0)
