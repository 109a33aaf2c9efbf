"""How `tenantctl dev` and `tenantctl demo` run: until they are done, or stopped."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from deploy.demo.run import run
from deploy.demo.samples import FOLDER as SAMPLES
from deploy.dev import Addresses, DevStack, Options
from deploy.embedded import EmbeddedError
from deploy.processes import ProcessFailed
from handlers import logs
from handlers.bootstrap.signals import stop_signals
from handlers.settings import unknown

_log = structlog.get_logger()

ENDED_BY = 128
"""What a shell adds to the number of the signal that ended a program: 130 for Ctrl-C, 143 for SIGTERM."""

_WIDTH = 124
"""Columns of a picture of the demo."""

_FETCHED_FONTS = re.compile(r"@font-face {.*?}\s*", re.DOTALL)
"""What rich draws with; a picture of ours uses fonts that are there, and calls nobody."""


_TOLD_EVERY = 3.0
"""Seconds between two lines about a stop that takes its time."""


def run_dev(options: Options, *, as_json: bool) -> int:
    """Run the development stack until Ctrl-C or SIGTERM; return the exit code."""
    logs.configure("info", role="dev")
    logs.hear_python()
    for each in unknown():
        _log.warning(each.sentence())
    try:
        return asyncio.run(_run_until_stopped(options, as_json))
    except (EmbeddedError, ProcessFailed) as error:
        _log.error(str(error))
        return 3


def run_demo(*, keep: bool, data_dir: Path | None, samples: Path | None, svg: Path | None) -> int:
    """Run the demo; return the exit code."""
    logs.configure("error", "console")
    summary = Console(record=True, width=_WIDTH, file=io.StringIO()) if svg else None
    work = run(Console(), keep=keep, data_dir=data_dir, samples=samples or SAMPLES, summary=summary)
    try:
        code = asyncio.run(_until_stopped(work))
    except (EmbeddedError, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 3
    if svg and summary:
        picture = summary.export_svg(title="make demo")
        svg.write_text(_FETCHED_FONTS.sub("", picture))
    return code


async def _until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` to its end, or until Ctrl-C or SIGTERM, which ends it cleanly."""
    task = asyncio.create_task(work)
    came: list[int] = []

    def stop(sign: int) -> None:
        came.append(sign)
        task.cancel()

    for sign in stop_signals():
        asyncio.get_running_loop().add_signal_handler(sign, stop, sign)
    try:
        return await task
    except asyncio.CancelledError:
        return ENDED_BY + came[0]


async def _run_until_stopped(options: Options, as_json: bool) -> int:
    stop, at_once = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in stop_signals():
        loop.add_signal_handler(sign, lambda: (at_once if stop.is_set() else stop).set())
    stack = DevStack(options)
    starting = asyncio.create_task(stack.start())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    try:
        if starting.done():
            _announce(starting.result(), options, as_json)
            await stopped
    finally:
        stopped.cancel()
        await _stop(stack, starting, at_once)
    return 0


async def _stop(stack: DevStack, starting: asyncio.Task[Addresses], at_once: asyncio.Event) -> None:
    """Stop the stack, and say so while that lasts; at once when that is asked for."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping = asyncio.create_task(_stop_cleanly(stack, starting))
    asked = asyncio.create_task(at_once.wait())
    while not stopping.done() and not asked.done():
        await asyncio.wait((stopping, asked), timeout=_TOLD_EVERY, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done() and not asked.done():
            _log.info(
                f"Still stopping after {loop.time() - began:.0f} s: PostgreSQL writes its files to disk."
            )
            _log.info("Ctrl-C again ends it at once; then the next start has to recover.")
    if asked.done():
        _log.info("Ending at once.")
        await stack.stop(at_once=True)
    asked.cancel()
    await stopping


async def _stop_cleanly(stack: DevStack, starting: asyncio.Task[Addresses]) -> None:
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await stack.stop()


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
