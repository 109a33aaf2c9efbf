"""Supervisors of embedded stacks in processes of their own, which a test may kill."""

import asyncio
import functools
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from deploy.embedded import Endpoints
from tests.support.processes import gone

ROOT = Path(__file__).parents[2]


class Supervisor:
    """A process that supervises a stack on a folder; killed with it at the end of the block."""

    def __init__(self, folder: Path, *options: str, uid: int | None = None) -> None:
        self._command = [interpreter_for(uid), "-m", "tests.deploy.supervise", str(folder), *options]
        self._uid = uid
        self._endpoints: Endpoints | None = None

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            env=_environment(),
            user=self._uid,
            group=self._uid,
            extra_groups=None if self._uid is None else [],
            start_new_session=True,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            if self._endpoints:
                await gone(self._endpoints.nats_pid)
                await gone(self._endpoints.postgres_pid)
        await self.process.communicate()

    async def ready(self) -> Endpoints:
        """Wait until both servers are up. Raises AssertionError with its errors when it ends instead."""
        assert self.process.stdout
        assert self.process.stderr
        line = await self.process.stdout.readline()
        if not line:
            raise AssertionError((await self.process.stderr.read()).decode())
        self._endpoints = Endpoints(**json.loads(line))
        return self._endpoints


@functools.cache
def interpreter_for(uid: int | None) -> str:
    """Return a Python of this version that the user can run our code with; "" when there is none."""
    if uid is None:
        return sys.executable
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import sys; from tests.support import supervisors; print(sys.version_info[:2])"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            run = subprocess.run(
                [candidate, "-c", probe],
                cwd=ROOT,
                env=_environment(),
                user=uid,
                group=uid,
                extra_groups=[],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            continue
        if run.stdout.strip() == str(sys.version_info[:2]):
            return candidate
    return ""


def _environment() -> Mapping[str, str]:
    # The packages of this environment, also for an interpreter from outside it.
    path = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
