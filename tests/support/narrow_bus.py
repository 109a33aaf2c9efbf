"""A real nats-server with JetStream, whose one user may do only what a test says."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.embedded import ports
from deploy.embedded.nats import executable
from deploy.embedded.ports import LOOPBACK
from tests.support.waiting import until


@asynccontextmanager
async def narrow_bus(folder: Path, permissions: Mapping[str, object]) -> AsyncGenerator[str]:
    """Give the URL of a server in `folder`, with the credentials of its user."""
    port = ports.choose()
    user = {"user": "narrow", "password": "secret", "permissions": permissions}
    config = {
        "listen": f"{LOOPBACK}:{port}",
        "jetstream": {"store_dir": str(folder / "jetstream")},
        "authorization": {"users": [user]},
    }
    file = folder / "nats.conf"
    file.write_text(json.dumps(config))
    server = await asyncio.create_subprocess_exec(
        str(executable()), "-c", str(file), stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        await until(lambda: not ports.is_free(port))
        yield f"nats://narrow:secret@{LOOPBACK}:{port}"
    finally:
        server.kill()
        await server.wait()
