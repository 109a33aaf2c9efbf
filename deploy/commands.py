"""The commands that run things on this machine: `dev` and `demo`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from deploy.dev import Addresses, DevStack, Options
from deploy.embedded import EmbeddedError
from deploy.processes import ProcessFailed
from handlers import logs

DATA_DIR = Path(".data")


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(dev)


def dev(
    *,
    data_dir: Path = DATA_DIR,
    nats_port: int = 0,
    http_port: int = 0,
    sync_interval: str = "always",
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Run everything on embedded servers, until Ctrl-C or SIGTERM.

    Real NATS and PostgreSQL start on loopback, with one command worker per core. A second start on the same
    folder goes on from it. When all is ready, and only then, it prints where things are.

    Example: tenantctl dev --data-dir .data --http-port 8085

    Parameters
    ----------
    data_dir
        Folder of all data, passwords and keys; one `dev` at a time may hold it.
    nats_port
        Port of NATS; 0 takes the former one, or a free one.
    http_port
        Port of the HTTP edge; 0 takes the former one, or a free one.
    sync_interval
        How often JetStream syncs to disk; anything but `always` can lose commands in a power cut.
    as_json
        Print one line of JSON with the addresses and credentials.
    """
    logs.configure("info", "console")
    options = Options(data_dir.absolute(), nats_port, http_port, sync_interval)
    try:
        return asyncio.run(_run_until_stopped(options, as_json))
    except (EmbeddedError, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 3


async def _run_until_stopped(options: Options, as_json: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    stack = DevStack(options)
    starting = asyncio.create_task(stack.start())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    try:
        if starting.done():
            _announce(starting.result(), options, as_json)
            await stopped
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
    finally:
        stopped.cancel()
        await stack.stop()
    return 0


def _announce(addresses: Addresses, options: Options, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(addresses)), flush=True)
        return
    console = Console()
    console.print(
        "[bold green]Ready.[/] Ctrl-C stops it; the data stays in", str(options.data_dir), highlight=False
    )
    for name, value in asdict(addresses).items():
        console.print(f"  {name:<12}", value, soft_wrap=True, highlight=False, markup=False)
