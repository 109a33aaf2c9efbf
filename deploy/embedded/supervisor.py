"""Brings both servers up, keeps them up, and takes them down."""

import asyncio
from asyncio import sleep
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from deploy.embedded import leftovers, nats, postgres
from deploy.embedded.account import Account
from deploy.embedded.datafolder import DataFolder, Memory, with_ports
from deploy.embedded.errors import EmbeddedError, PortTakenError
from deploy.embedded.process import Server, ServerName
from handlers.settings import PARTITIONS
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

_PORT_ATTEMPTS = 5
_CALM = 10.0  # seconds a server must have lived for its next restart to be at once again
_FIRST_PAUSE = 0.1  # seconds
_LONGEST_PAUSE = 5.0  # seconds

STOP_WITHIN = 300.0
"""Seconds that PostgreSQL may take to stop. A tenant has some thirty files, and each that changed is synced
then: 39,000 files of 1,200 new tenants took 4 s here, and disks differ. What is not done by then has to be
recovered at the next start."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the servers are; the URLs carry the credentials of a trusted service."""

    nats_url: str = field(repr=False)
    postgres_url: str = field(repr=False)
    nats_pid: int
    postgres_pid: int


class EmbeddedStack:
    """The two servers on one data folder, supervised from `start` to `stop` by the calling event loop.

    Port 0 means the port of the folder's earlier starts, or a free one. `sync_interval` is the
    nats-server's ("always", or a duration such as "2m"). It sorts the answered door's commands of
    `subjects` by `partitions`, so that most of them reach the worker that owns theirs without a detour.
    `on_restart` is called with "nats" or "postgres" whenever a server that died answers again. PostgreSQL
    has `stop_within` seconds to stop cleanly. The thread of the event loop must live as long as the stack.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        nats_port: int = 0,
        postgres_port: int = 0,
        sync_interval: str = "always",
        subjects: Subjects = Subjects(),  # noqa: B008 a named tuple
        partitions: int = PARTITIONS,
        on_restart: Callable[[str], None] | None = None,
        stop_within: float = STOP_WITHIN,
    ) -> None:
        self._folder = DataFolder(data_dir)
        self._wished_ports = (nats_port, postgres_port)
        self._sync_interval = sync_interval
        self._mappings = dict([subjects.rpc_mapping(partitions)])
        self._on_restart = on_restart
        self._stop_within = stop_within
        self._at_once = False
        self._memory: Memory | None = None
        self._servers: dict[ServerName, Server] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def endpoints(self) -> Endpoints:
        """Where the servers are now; a restart changes the process ids. Raises EmbeddedError when stopped."""
        if self._memory is None:
            raise EmbeddedError("the embedded stack is not running: start it first")
        return Endpoints(
            nats_url=nats.url(self._memory),
            postgres_url=postgres.url(self._memory),
            nats_pid=self._servers["nats"].pid,
            postgres_pid=self._servers["postgres"].pid,
        )

    async def start(self) -> Endpoints:
        """Start both servers and return when both answer as configured.

        Raises EmbeddedError when the folder is in use or unusable, a port is taken, a server does not come
        up, or `stop` is called meanwhile; nothing is left running then, nor when the call is cancelled.
        """
        if self._starting is not None:
            raise EmbeddedError("the embedded stack was started already: stop it first")
        self._starting = starting = asyncio.create_task(self._bring_up())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled() and not _is_being_cancelled():
                raise EmbeddedError("the embedded stack was stopped while it started") from None
            await self.stop()
            raise
        except BaseException:
            await self.stop()
            raise
        return self.endpoints

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop both servers, also in the middle of a start; nothing is left running. Again is fine.

        With `at_once`, also in the middle of another stop, they are not given time: PostgreSQL has to recover
        at its next start.
        """
        self._at_once |= at_once
        if at_once and self._stopping is not None:
            for server in self._servers.values():
                server.hurry()
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._take_down())
        # A caller in a hurry must not leave us half stopped.
        await asyncio.shield(self._stopping)

    async def kill(self, which: ServerName) -> None:
        """End a server by SIGKILL and return when it is dead; supervision then restarts it on its port."""
        await self._server(which).kill()

    def pause(self, which: ServerName) -> None:
        """Freeze a server with all its processes (SIGSTOP): connections stay open, nothing answers."""
        self._server(which).pause()

    def resume(self, which: ServerName) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self._server(which).resume()

    def _server(self, which: ServerName) -> Server:
        try:
            return self._servers[which]
        except KeyError:
            raise EmbeddedError("the embedded stack is not running: start it first") from None

    async def _bring_up(self) -> None:
        self._folder.acquire()
        programs = (nats.executable(), postgres.executable("postgres"))
        account = await asyncio.to_thread(self._folder.furnish, programs)
        await _together(
            leftovers.end(self._folder.nats, nats.STOP_SIGNALS[-1]),
            leftovers.end(self._folder.postgres, postgres.STOP_SIGNALS[-1]),
        )
        remembered = await asyncio.to_thread(self._folder.remember)
        if not remembered.prepared:
            # Nobody has seen these ports yet: better free ones than the same ones.
            remembered = replace(remembered, nats_port=0, postgres_port=0)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            memory = with_ports(remembered, *self._wished_ports)
            try:
                await self._bring_up_on(memory, account)
            except PortTakenError as taken:
                chosen_by_us = taken.port not in (
                    *self._wished_ports,
                    remembered.nats_port,
                    remembered.postgres_port,
                )
                if not chosen_by_us or attempt == _PORT_ATTEMPTS:
                    raise
                log.info("another process was quicker to take a free port; choosing again", port=taken.port)
                await _together(*(server.stop() for server in self._servers.values()))
            else:
                return

    async def _bring_up_on(self, memory: Memory, account: Account | None) -> None:
        await asyncio.to_thread(self._folder.keep, memory)
        self._servers = {
            "nats": Server(nats.program(self._folder, memory, account, self._sync_interval, self._mappings)),
            "postgres": Server(postgres.program(self._folder, memory, account, self._stop_within)),
        }
        await _together(self._servers["nats"].start(), self._start_postgres(memory, account))
        if not memory.prepared:
            memory = replace(memory, prepared=True)
            await asyncio.to_thread(self._folder.keep, memory)
        self._memory = memory
        self._keepers = [asyncio.create_task(self._keep_up(server)) for server in self._servers.values()]

    async def _start_postgres(self, memory: Memory, account: Account | None) -> None:
        if not memory.prepared:
            await postgres.initialise(self._folder, memory, account)
        await self._servers["postgres"].start()
        if not memory.prepared:
            await postgres.furnish(memory)
        await postgres.close(memory)

    async def _keep_up(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            up_since = loop.time()
            status = await server.ended()
            if loop.time() - up_since > _CALM:
                pause = 0.0
            log.warning(
                "a server died; restarting it", server=server.program.name, status=status, pause=pause
            )
            await sleep(pause)
            await self._restart(server)
            pause = _longer(pause)

    async def _restart(self, server: Server) -> None:
        name = server.program.name
        pause = _FIRST_PAUSE
        while True:
            try:
                await server.start()
                break
            except (EmbeddedError, OSError) as error:
                log.error(
                    "a server does not come back; trying again", server=name, error=str(error), pause=pause
                )
            await sleep(pause)
            pause = _longer(pause)
        log.info("a server is back", server=name, pid=server.pid)
        if self._on_restart:
            self._on_restart(name)

    async def _take_down(self) -> None:
        try:
            await _cancel(self._starting, *self._keepers)
            results = await asyncio.gather(
                *(server.stop(at_once=self._at_once) for server in self._servers.values()),
                return_exceptions=True,
            )
        finally:
            self._folder.release()
            self._memory = None
            self._servers = {}
            self._keepers = []
            self._starting = self._stopping = None
            self._at_once = False
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _longer(pause: float) -> float:
    return min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all at once; when one fails, cancel the others, wait for them, and raise what it raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _cancel(*tasks)


async def _cancel(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel what still runs and wait for it; what it raised was reported by whoever awaits it."""
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
