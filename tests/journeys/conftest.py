"""One `tenantctl dev` for all journeys of a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.dev import Addresses
from handlers.client import TenantClient
from tests.support.servers import copy_folder, public_folder
from tests.support.waiting import PATIENCE

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    """A running stack: where it is, its data folder, and the file that its log goes to."""

    at: Addresses
    data_dir: Path
    log: Path

    def environment(self) -> dict[str, str]:
        """Return the environment of a shell next to the stack, with `tenantctl` and `python` on its path."""
        programs = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "TENANTS_NATS_URL": self.at.nats,
            "TENANTS_POSTGRES_URL": self.at.postgres,
            "TENANTS_SIGNING_KEY_FILE": str(self.data_dir / "keys" / "signing.pem"),
            "TENANTS_MASTER_KEY_FILE": str(self.data_dir / "keys" / "master.key"),
            "NATS_URL": self.at.nats,
            "HTTP_URL": self.at.http,
            "TOKEN": self.at.admin_token,
        }


@pytest.fixture(scope="session")
def service(prepared_dir: Path) -> Iterator[Running]:
    """Run `tenantctl dev --json` as after a first start, and stop it with SIGTERM."""
    folder = public_folder()
    data_dir, log = folder / "data", folder / "log"
    copy_folder(prepared_dir, data_dir)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.tenantctl", "dev", "--data-dir", str(data_dir), "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=CHECKOUT,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text()
            yield Running(Addresses(**json.loads(line)), data_dir, log)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=PATIENCE)
            assert process.stdout is not None
            process.stdout.close()
    shutil.rmtree(folder)
    assert code == 0


@pytest.fixture
async def tenants(service: Running) -> AsyncGenerator[TenantClient]:
    """A client of the running service."""
    async with TenantClient.connect(service.at.nats) as client:
        yield client
