"""Two real nats-servers in a cluster, each with the same credentials; one can be killed and put back."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Self

from deploy.embedded import ports
from deploy.embedded.nats import executable
from deploy.embedded.ports import LOOPBACK
from tests.support.waiting import until


class Cluster:
    """Servers 0 and 1, with their configuration in `folder`; `url(n)` has the credentials."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [ports.choose() for _ in range(2)]
        self._routes = [ports.choose() for _ in range(2)]
        self._servers: dict[int, Process] = {}

    def url(self, number: int) -> str:
        """Return where a server is."""
        return f"nats://service:secret@{LOOPBACK}:{self._ports[number]}"

    async def __aenter__(self) -> Self:
        for number in range(2):
            await self.start(number)
        return self

    async def __aexit__(self, *_: object) -> None:
        for number in list(self._servers):
            await self.kill(number)

    async def start(self, number: int) -> None:
        """Start a server on its port, and wait until it listens."""
        file = self._folder / f"server-{number}.conf"
        config = {
            "listen": f"{LOOPBACK}:{self._ports[number]}",
            "server_name": f"server-{number}",
            "authorization": {"user": "service", "password": "secret"},
            "cluster": {
                "name": "pair",
                "listen": f"{LOOPBACK}:{self._routes[number]}",
                "routes": [f"nats://{LOOPBACK}:{port}" for port in self._routes],
            },
        }
        file.write_text(json.dumps(config))
        self._servers[number] = await asyncio.create_subprocess_exec(
            str(executable()), "-c", str(file), stdout=DEVNULL, stderr=DEVNULL
        )
        await until(lambda: not ports.is_free(self._ports[number]))

    async def kill(self, number: int) -> None:
        """Kill a server."""
        server = self._servers.pop(number)
        server.kill()
        await server.wait()
