"""Runs the roles of a process until it is told to stop."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import structlog
import uvloop

from handlers import logs, tracing
from handlers.adapters.tasks import DEFECT
from handlers.bootstrap.composing import composed
from handlers.bootstrap.health import health_of
from handlers.bootstrap.process import connected
from handlers.bootstrap.side_port import SidePort
from handlers.bootstrap.signals import stop_signals
from handlers.garbage import collect_rarely
from handlers.settings import SUPERVISED, Settings, unknown

log = structlog.get_logger()


class EngineFailed(Exception):
    """An engine of this process ended for a defect, which its log tells of; so the process has to."""


async def serve(settings: Settings, roles: tuple[str, ...], ready: Callable[[dict[str, Any]], None]) -> None:
    """Run `roles` until a signal to stop, or the end of a supervising process; then stop cleanly.

    `ready` is called once, with what a supervisor wants to know: the roles, and where HTTP is.
    Raises what tells that the service can't run here: StreamWeakened, SchemaTooNew, RightsMissing,
    MasterKeyError, KeyFileError, PortTaken. Raises EngineFailed after an engine has ended for a defect: a
    process that went on without it would look well, and do a part of its work no more.
    """
    provider = tracing.configure(settings.otlp_endpoint, settings.environment, roles)
    side = None if settings.metrics_port is None else SidePort(settings.http_host, settings.metrics_port)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    defects = _stop_on_defects(stop)
    reached = asyncio.Event()
    starting = asyncio.create_task(_running(settings, roles, ready, side, reached, stop))
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # A clean stop may take what a command may wait, and a little. Without servers nothing is to end.
            patience = settings.unavailable_after + 5.0 if reached.is_set() else 0.0
            await asyncio.wait((starting,), timeout=patience)
            starting.cancel()
        await _outcome(starting)
    finally:
        waiting.cancel()
        if side is not None:
            side.close()
        if provider is not None:
            await asyncio.to_thread(provider.shutdown)
    if defects:
        raise EngineFailed(f"An engine ended for a defect ({', '.join(defects)}): see the log above.")


async def _outcome(task: asyncio.Task[None]) -> None:
    try:
        await task
    except asyncio.CancelledError:
        log.warning("stopped before everything had ended by itself")


async def _running(
    settings: Settings,
    roles: tuple[str, ...],
    ready: Callable[[dict[str, Any]], None],
    side: SidePort | None,
    reached: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    async with connected(settings) as process, AsyncExitStack() as started:
        reached.set()
        health = health_of(process, started)
        parts = await composed(process, roles, health, started)
        for role in parts.roles:
            started.push_async_callback(role.stop)
            await role.start()
        collect_rarely()
        if side is not None:
            side.health = health
        log.info("ready", roles=roles)
        ready({"ready": roles, "http": parts.http.url if parts.http else None})
        await stop.wait()
        log.info("stopping", roles=roles)


def _stop_on_defects(stop: asyncio.Event) -> list[str]:
    """Set `stop` when a watched task fails; return a list that their names come to."""
    defects: list[str] = []

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not context.get(DEFECT):
            loop.default_exception_handler(context)
            return
        task, error = context["future"], context["exception"]
        log.error("engine ended for a defect", engine=task.get_name(), exc_info=error)
        defects.append(task.get_name())
        stop.set()

    asyncio.get_running_loop().set_exception_handler(handle)
    return defects


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for sign in stop_signals():
        loop.add_signal_handler(sign, stop.set)
    if os.environ.get(SUPERVISED):
        # Whoever started us holds the other end of our standard input: when it closes, he is gone.
        loop.add_reader(sys.stdin.fileno(), stop.set)


def run(settings: Settings, roles: tuple[str, ...], ready: Callable[[dict[str, Any]], None]) -> None:
    """Run `serve` in an event loop of its own, the quickest there is."""
    logs.configure(settings.log_level, settings.log_format, role=",".join(roles))
    # Who is supervised has its environment from its supervisor, which tells of it once.
    for each in () if os.environ.get(SUPERVISED) else unknown():
        log.warning("setting unknown", variable=each.variable, nearest=each.nearest)
    uvloop.run(serve(settings, roles, ready))
