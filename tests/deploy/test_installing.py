"""What is installed works away from the checkout: the whole by `pip install .`, the client on its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import disk_folder

CHECKOUT = Path(__file__).resolve().parents[2]
CLIENT = CHECKOUT / "deploy" / "client"
UV = shutil.which("uv") or str(CHECKOUT / ".tools" / "bin" / "uv")

PROVISION = """
import asyncio, sys
from handlers.client import TenantClient

async def main():
    async with TenantClient.connect(sys.argv[1]) as tenants:
        admin = {"email": "ada@acme.example", "name": "Ada Lovelace"}
        outcome = await tenants.provision(name="Acme", subdomain="acme", admin=admin)
        operation = await outcome.operation(timeout=100)
        print(operation.status, (await tenants.tenant(outcome.tenant_id)).status)

asyncio.run(main())
"""


class Environment:
    """A fresh virtual environment with one distribution of this checkout in it, away from the checkout."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        _uv("venv", "--quiet", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--quiet", "--python", str(self.bin / "python"), str(source))

    def run(self, *words: str) -> str:
        """Run one of its programs to its end and return what it printed."""
        done = subprocess.run(
            [self.bin / words[0], *words[1:]], cwd=self.folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def distributions(self) -> set[str]:
        """Return the names of all that is installed in it."""
        listed = _uv("pip", "freeze", "--python", str(self.bin / "python"))
        return {line.partition("==")[0].partition(" @ ")[0] for line in listed.splitlines()}


def _uv(*words: str) -> str:
    done = subprocess.run([UV, *words], capture_output=True, text=True, timeout=240)
    if done.returncode and "failed to fetch" in done.stderr.lower():
        pytest.skip(f"no package registry here: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the database's own user may enter."""
    made = disk_folder()
    yield made
    shutil.rmtree(made)


def test_a_client_on_its_own_provisions_a_tenant_of_an_installed_service(folder: Path):
    whole = Environment(folder / "whole", CHECKOUT)
    alone = Environment(folder / "alone", CLIENT)
    assert not {"psycopg", "faststream", "litestar", "eventsourcing", "cyclopts"} & alone.distributions()
    with subprocess.Popen(
        [whole.bin / "tenantctl", "dev", "--data-dir", folder / "data", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("TENANTS_")},
    ) as service:
        try:
            assert service.stdout is not None
            at = json.loads(service.stdout.readline())
            assert alone.run("python", "-c", PROVISION, at["nats"]).split() == ["succeeded", "active"]
        finally:
            service.send_signal(signal.SIGTERM)
    assert service.returncode == 0


def test_the_client_alone_asks_for_what_the_whole_asks_for_on_its_behalf():
    whole = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    client = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    assert set(client["dependencies"]) < set(whole["dependencies"])
    assert client["requires-python"] == whole["requires-python"]
