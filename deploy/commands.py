"""The commands that run things on this machine: `dev` and `demo`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from deploy.demo.run import run as run_demo
from deploy.demo.samples import FOLDER as SAMPLES
from deploy.dev import Addresses, DevStack, Options
from deploy.embedded import EmbeddedError
from deploy.processes import ProcessFailed
from handlers import logs

DATA_DIR = Path(".data")
INTERRUPTED = 130
"""What a shell calls a program that Ctrl-C ended."""


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(dev)
    app.command(demo)


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


def demo(
    *,
    keep: bool = False,
    data_dir: Path | None = None,
    samples: Path | None = None,
    svg: Path | None = None,
) -> int:
    """Run the main job on the sample data, against a stack of its own, and check all that comes of it.

    Exits with 0 only if all of it came true.

    Example: tenantctl demo --keep

    Parameters
    ----------
    keep
        Leave the stack running until Ctrl-C, and print where it is.
    data_dir
        Folder of the stack; a new one, removed at the end, when none is given.
    samples
        Folder of other samples in the same form.
    svg
        Write what was shown to this file as a picture.
    """
    logs.configure("error", "console")
    console = Console(record=svg is not None, width=120 if svg else None)
    work = run_demo(console, keep=keep, data_dir=data_dir and data_dir.absolute(), samples=samples or SAMPLES)
    try:
        code = asyncio.run(_until_stopped(work))
    except (EmbeddedError, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 3
    if svg:
        console.save_svg(str(svg), title="tenantctl demo")
    return code


async def _until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` to its end, or until Ctrl-C or SIGTERM, which ends it cleanly."""
    task = asyncio.create_task(work)
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED


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
