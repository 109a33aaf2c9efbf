"""The whole service, as `tenantctl dev` runs it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from handlers.client import TenantClient
from tests.support.servers import public_folder

TENANTCTL = Path(sys.executable).parent / "tenantctl"


class Service(NamedTuple):
    """Where the running service is."""

    nats: str
    http: str
    postgres: str
    admin_token: str


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A service of this test process's own; tests share it, so use names of your own."""
    folder = public_folder()
    command = [TENANTCTL, "dev", "--data-dir", folder / "data", "--json"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as running,
    ):
        try:
            yield _ready(running, folder / "log")
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout=60)
    shutil.rmtree(folder)


def _ready(running: subprocess.Popen[bytes], log: Path) -> Service:
    assert running.stdout
    line = running.stdout.readline()
    assert line, f"tenantctl dev did not start:\n{log.read_text()[-3000:]}"
    told: dict[str, Any] = json.loads(line)
    return Service(**told)


@pytest.fixture
async def tenants(service: Service) -> AsyncGenerator[TenantClient]:
    """A client of the running service."""
    async with TenantClient.connect(service.nats) as client:
        yield client
