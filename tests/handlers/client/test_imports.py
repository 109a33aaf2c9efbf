"""The client stands alone: a service that uses it installs nothing of the server."""

from __future__ import annotations

import subprocess
import sys

from tests.support.waiting import PATIENCE

SERVER = (
    "psycopg", "psycopg_pool", "faststream", "eventsourcing", "litestar", "structlog", "granian", "obstore",
    "pydantic_settings", "cryptography", "joserfc", "aiosmtplib", "prometheus_client", "opentelemetry",
    "cyclopts", "rich", "uvloop", "nats_server", "projections", "sagas", "deploy", "handlers.store",
    "handlers.execution", "handlers.settings", "handlers.logs",
)  # fmt: skip

SCRIPT = """
import asyncio, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in BLOCKED):
            raise ImportError(f"{name} is of the server")

sys.meta_path.insert(0, Blocked())

from handlers.client import TenantClient
from tenant_domain.refusals import Unavailable

async def main():
    async with TenantClient.connect(URL, prefix="nobody_serves_this", timeout=0.5) as client:
        try:
            await client.suspend("01938f5e-7c00-7000-8000-000000000001", "unpaid")
        except Unavailable as refusal:
            print(refusal.detail)

asyncio.run(main())
"""


def test_it_imports_and_works_without_anything_of_the_server(nats_url: str):
    script = f"BLOCKED, URL = {SERVER!r}, {nats_url!r}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Nobody serves nobody_serves_this.rpc" in done.stdout
