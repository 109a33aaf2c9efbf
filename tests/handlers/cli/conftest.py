"""A development stack for all tests of the command line, and the command line on it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import pytest

from tests.support.servers import copy_folder, public_folder

ROOT = Path(__file__).resolve().parents[3]


class Result:
    """What came of one command line."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[Any]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self) -> Any:
        """Its one JSON line."""
        (line,) = self.lines
        return line


class CommandLine:
    """`tenantctl`, on the stack of a data folder."""

    def __init__(self, data_dir: Path, *, reach: float = 60, quick: float = 20) -> None:
        """Wait for servers and for parts of the service as long as told, in seconds."""
        self.data_dir = data_dir
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TENANTS_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.cli_runner", str(reach), str(quick)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**environment, "COLUMNS": "160"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __call__(
        self, *arguments: object, data_dir: Path | None = None, env: Mapping[str, str] = MappingProxyType({})
    ) -> Result:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        words = [*map(str, arguments), "--data-dir", str(data_dir or self.data_dir)]
        self._process.stdin.write(json.dumps({"arguments": words, "environment": dict(env)}) + "\n")
        self._process.stdin.flush()
        return Result(**json.loads(self._process.stdout.readline()))

    def json(self, *arguments: object, env: Mapping[str, str] = MappingProxyType({})) -> Result:
        return self(*arguments, "--json", env=env)


@pytest.fixture(scope="session")
def running_dir(prepared_dir: Path) -> Iterator[Path]:
    """The folder of a running `tenantctl dev`."""
    folder = public_folder()
    copy_folder(prepared_dir, folder / "data")
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.tenantctl", "dev", "--data-dir", str(folder / "data")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    said = iter(process.stdout.readline, "")
    assert any("Ready." in line for line in said), "the development stack did not start"
    yield folder / "data"
    process.send_signal(signal.SIGTERM)
    process.wait()
    process.stdout.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tenantctl(running_dir: Path) -> Iterator[CommandLine]:
    with CommandLine(running_dir) as command_line:
        yield command_line


@pytest.fixture(scope="session")
def lonely() -> Iterator[CommandLine]:
    """The command line where nothing runs."""
    folder = public_folder()
    with CommandLine(folder, reach=0.3, quick=0.3) as command_line:
        yield command_line
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def unserved() -> Iterator[CommandLine]:
    """The command line where servers may run, and nobody serves."""
    folder = public_folder()
    with CommandLine(folder, quick=0.3) as command_line:
        yield command_line
    shutil.rmtree(folder)
