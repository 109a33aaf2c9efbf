"""A process of the service as an operator runs it, with its log in a file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.embedded import Endpoints

CHECKOUT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def serving(
    endpoints: Endpoints, folder: Path, roles: tuple[str, ...], log: Path, settings: Mapping[str, str]
) -> AsyncGenerator[dict[str, Any]]:
    """Run `tenantctl serve` with `roles` and keys in `folder`; gives what it says when it is ready."""
    environment = {
        **os.environ,
        "TENANTS_NATS_URL": endpoints.nats_url,
        "TENANTS_POSTGRES_URL": endpoints.postgres_url,
        "TENANTS_OBJECTS_URL": f"file:{folder}/objects",
        "TENANTS_MASTER_KEY_FILE": str(folder / "master.key"),
        "TENANTS_SIGNING_KEY_FILE": str(folder / "signing.pem"),
        "TENANTS_CERTIFICATE_KEY_FILE": str(folder / "certificates.pem"),
        "TENANTS_CREATE_KEYS": "true",
        "TENANTS_HTTP_HOST": "127.0.0.1",
        "TENANTS_HTTP_PORT": "0",
        "TENANTS_SUPERVISED": "1",
        **settings,
    }
    words = [word for role in roles for word in ("--role", role)]
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.tenantctl", "serve", "--json", *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=CHECKOUT,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        assert line, f"it ended at once: see {log}"
        yield json.loads(line)
    finally:
        process.stdin.close()  # a supervised process ends with its supervisor
        code = await process.wait()
    assert code == 0
