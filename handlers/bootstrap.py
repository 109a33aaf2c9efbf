"""The composition root: the parts of a process, made from settings, started and stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import msgspec
import nats.errors
import psycopg
import structlog
from faststream.nats import NatsBroker
from nats.aio.client import Client
from prometheus_client import REGISTRY

from handlers import logs, tracing
from handlers.adapters import schemas
from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.keys import MasterKey, load_master_key
from handlers.adapters.notices import Mailer, Notices
from handlers.adapters.objects import buckets
from handlers.adapters.plans import Plans
from handlers.adapters.table import effects
from handlers.bus.asyncapi import asyncapi_document
from handlers.bus.commands import CommandsRole
from handlers.bus.discovery import Discovery
from handlers.bus.endpoints import Endpoint
from handlers.bus.queries import QueryDoor
from handlers.bus.streams import Limits, declare
from handlers.execution.executor import Executor
from handlers.http_edge.app import http_app
from handlers.http_edge.health import Health
from handlers.http_edge.server import HttpServer
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from handlers.projector.role import ProjectionsRole
from handlers.queries import Hearing, Queries
from handlers.relay.role import RelayRole
from handlers.saga_runner.role import SagasRole
from handlers.saga_runner.worker import Limits as SagaLimits
from handlers.settings import Settings
from handlers.store.cache import StreamCache
from handlers.store.connections import Connections
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from handlers.wire.subjects import Streams, Subjects

log = structlog.get_logger()

ROLES = ("commands", "sagas", "projections", "relay", "http")

_AWAY = (psycopg.OperationalError, nats.errors.Error, OSError, TimeoutError, JetStreamError)

LONGEST_PAUSE = 2.0
"""Seconds between two tries to reach a server at the start."""


class Role(Protocol):
    """A part of the service that runs from `start` to `stop`."""

    async def start(self) -> None:
        """Begin to work."""
        ...

    async def stop(self) -> None:
        """End, cleanly."""
        ...


class Process:
    """What the roles of one process share."""

    def __init__(self, settings: Settings, broker: NatsBroker, store: EventStore) -> None:
        self.settings = settings
        self.subjects = Subjects(settings.subject_prefix)
        self.streams = Streams()
        self.broker = broker
        self.store = store
        self.postgres_url = settings.postgres_url.get_secret_value()
        self.limits = Limits(
            partitions=settings.partitions,
            replicas=settings.replicas,
            commands_max_bytes=settings.commands_max_bytes,
            dead_letters_max_bytes=settings.dead_letters_max_bytes,
        )
        self.commands: CommandsRole | None = None
        self.http: HttpServer | None = None

    @property
    def nc(self) -> Client:
        """The connection to NATS that all parts of this process share."""
        return self.broker.connection

    async def declare(self) -> frozenset[str]:
        """Make the streams that are missing; raises when one would be weakened."""
        return await declare(self.nc, self.subjects, self.streams, self.limits)


async def serve(settings: Settings, roles: tuple[str, ...], ready: Callable[[dict[str, Any]], None]) -> None:
    """Run `roles` until SIGTERM, SIGINT, or the end of a supervising process; then stop cleanly.

    `ready` is called once, with what a supervisor wants to know: the roles, and where HTTP is.
    Raises what tells that the service can't run here: StreamWeakened, SchemaTooNew, MasterKeyError,
    KeyFileError, PortTaken.
    """
    provider = tracing.configure(settings.otlp_endpoint, settings.environment, roles)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    starting = asyncio.create_task(_running(settings, roles, ready, stop))
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # A clean stop may take what a command may wait, and a little.
            await asyncio.wait((starting,), timeout=settings.unavailable_after + 5.0)
            starting.cancel()
        await _outcome(starting)
    finally:
        waiting.cancel()
        if provider is not None:
            await asyncio.to_thread(provider.shutdown)


async def _outcome(task: asyncio.Task[None]) -> None:
    try:
        await task
    except asyncio.CancelledError:
        log.warning("stopped before everything had ended by itself")


async def _running(
    settings: Settings, roles: tuple[str, ...], ready: Callable[[dict[str, Any]], None], stop: asyncio.Event
) -> None:
    async with _process(settings) as process, AsyncExitStack() as started:
        for role in await _composed(process, roles, started):
            started.push_async_callback(role.stop)
            await role.start()
        log.info("ready", roles=roles)
        ready({"ready": roles, "http": process.http.url if process.http else None})
        await stop.wait()
        log.info("stopping", roles=roles)


@asynccontextmanager
async def _process(settings: Settings) -> AsyncGenerator[Process]:
    """Connect to both servers, and bring schema and streams up to date; wait for a server that is away."""
    url = settings.postgres_url.get_secret_value()
    await _patiently("postgres", lambda: migrate(url, partitions=settings.partitions))
    await _patiently("postgres", lambda: _prepare(url))
    broker = NatsBroker(
        settings.nats_url.get_secret_value(),
        logger=None,
        apply_types=False,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # pyright: ignore[reportArgumentType] - seconds, also parts of one
        connect_timeout=5,
        pending_size=64 * 1024 * 1024,
    )
    async with EventStore(url, readers=settings.pool_size, snapshot_every=settings.snapshot_every) as store:
        await _patiently("nats", broker.connect)
        process = Process(settings, broker, store)
        try:
            await _patiently("nats", process.declare)
            yield process
        finally:
            await broker.stop()


async def _prepare(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await schemas.prepare(connection)


async def _patiently(server: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work`, again and again while its server is away."""
    pause = 0.1
    while True:
        try:
            await work()
            return
        except _AWAY as error:
            log.warning("a server is away, trying again", server=server, why=str(error), pause=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _composed(process: Process, roles: tuple[str, ...], started: AsyncExitStack) -> list[Role]:
    """Return the roles in the order of their start; what only they use ends with `started`."""
    composed: list[Role] = []
    if "relay" in roles:
        composed.append(_relay(process))
    queries = await _queries(process, started) if {"projections", "http"} & set(roles) else None
    endpoints: list[Endpoint] = []
    if "projections" in roles and queries is not None:
        door = QueryDoor(process.nc, queries, process.subjects)
        endpoints += door.endpoints
        composed += [_projections(process), door]
    if "sagas" in roles:
        composed.append(await _sagas(process, started))
    if "commands" in roles:
        process.commands = _commands(process)
        composed.append(process.commands)
        endpoints += process.commands.endpoints
    if "http" in roles and queries is not None:
        composed.append(await _http(process, queries, started))
    if endpoints:
        composed.append(
            Discovery(process.nc, endpoints, service_id=uuid4().hex, version=version("tenant-service"))
        )
    return composed


def _commands(process: Process) -> CommandsRole:
    settings = process.settings
    return CommandsRole(
        process.broker,
        process.store,
        process.postgres_url,
        settings.policy(),
        subjects=process.subjects,
        streams=process.streams,
        cached_states=settings.cached_states,
        batch_size=settings.batch_size,
        waiting_commands=settings.waiting_commands,
        unavailable_after=settings.unavailable_after,
        partitions=settings.partitions,
        tries=settings.command_tries,
        lease=settings.partition_lease,
        retention=settings.command_retention,
    )


def _relay(process: Process) -> RelayRole:
    settings = process.settings
    return RelayRole(
        process.nc,
        process.store,
        process.subjects,
        process.streams,
        process.declare,
        window=settings.relay_window,
        poll=settings.poll_interval,
    )


async def _queries(process: Process, started: AsyncExitStack) -> Queries:
    connections = Connections(
        process.postgres_url,
        readers=process.settings.pool_size,
        statement_timeout=10,
        lock_timeout=5,
        idle_timeout=5,
        pool_timeout=2,
    )
    await connections.open()
    started.push_async_callback(connections.close)
    queries = Queries(connections, concurrency=process.settings.query_concurrency)
    started.push_async_callback(queries.close)
    hearing = Hearing(process.nc, queries, process.subjects)
    await hearing.start()
    started.push_async_callback(hearing.stop)
    return queries


def _projections(process: Process) -> Role:
    role = ProjectionsRole(
        process.nc,
        process.store,
        process.postgres_url,
        process.subjects,
        poll=process.settings.poll_interval,
    )
    return _Ready(role)


class _Ready:
    """The projections, started once their read models can be asked."""

    def __init__(self, role: ProjectionsRole) -> None:
        self._role = role
        self.stop = role.stop

    async def start(self) -> None:
        await self._role.start()
        await self._role.ready()


async def _sagas(process: Process, started: AsyncExitStack) -> SagasRole:
    settings = process.settings
    access_key, secret_key = (
        key.get_secret_value() if key else None
        for key in (settings.objects_access_key, settings.objects_secret_key)
    )
    store = buckets(settings.objects_url, access_key, secret_key)
    started.push_async_callback(store.close)
    mailer = (
        Mailer.at(settings.smtp_url.get_secret_value(), settings.smtp_sender) if settings.smtp_url else None
    )

    async def publish(subject: str, body: bytes, headers: dict[str, str]) -> None:
        await process.nc.publish(subject, body, headers=headers)

    @asynccontextmanager
    async def connect() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(process.postgres_url, autocommit=True) as connection:
            yield connection

    table = effects(
        _master_key(settings),
        schemas.Access(connect),
        store,
        Notices(publish, process.subjects, mailer),
        Plans(connect, store),
    )
    return SagasRole(
        postgres_url=process.postgres_url,
        store=process.store,
        nats=process.nc,
        subjects=process.subjects,
        effects=table,
        policy=settings.policy(),
        registry=REGISTRY,
        limits=SagaLimits(concurrency=settings.saga_concurrency, lease=settings.saga_lease),
    )


def _master_key(settings: Settings) -> MasterKey:
    path = settings.master_key_file or Path("master.key")
    return load_master_key(path, create=settings.create_keys)


async def _http(process: Process, queries: Queries, started: AsyncExitStack) -> HttpServer:
    settings = process.settings
    executor = process.commands.executor if process.commands else await _executor(process, started)
    signer = Signer.from_file(
        settings.signing_key_file or Path("signing.pem"),
        create=settings.create_keys,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
    )

    async def postgres() -> None:
        await process.store.head()

    async def bus() -> None:
        await process.nc.flush(timeout=2)

    app = http_app(
        Doors(executor.execute, queries.answer, uuid4),
        signer=signer,
        health=Health({"postgres": postgres, "nats": bus}),
        asyncapi=msgspec.json.encode(
            asyncapi_document(process.subjects, process.streams, version("tenant-service"))
        ),
        registry=REGISTRY,
        origins=settings.cors_origins,
    )
    process.http = HttpServer(app, host=settings.http_host, port=settings.http_port)
    return process.http


async def _executor(process: Process, started: AsyncExitStack) -> Executor:
    """Return an executor for the HTTP edge of a process that has no other door of commands."""
    settings = process.settings
    subject = process.subjects.hint("committed")
    hints: set[asyncio.Task[None]] = set()

    def committed(head: int) -> None:
        hint = asyncio.ensure_future(process.nc.publish(subject, b"%d" % head))
        hints.add(hint)
        hint.add_done_callback(hints.discard)

    executor = Executor(
        process.store,
        settings.policy(),
        cache=StreamCache(settings.cached_states),
        committed=committed,
        batch_size=settings.batch_size,
        waiting_commands=settings.waiting_commands,
        unavailable_after=settings.unavailable_after,
    )
    await executor.start()
    started.push_async_callback(executor.stop)
    return executor


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    if os.environ.get("TENANTS_SUPERVISED"):
        # Whoever started us holds the other end of our standard input: when it closes, he is gone.
        loop.add_reader(sys.stdin.fileno(), stop.set)


def run(settings: Settings, roles: tuple[str, ...], ready: Callable[[dict[str, Any]], None]) -> None:
    """Run `serve` in an event loop of its own, the quickest there is."""
    logs.configure(settings.log_level, settings.log_format)
    if sys.platform == "win32":
        asyncio.run(serve(settings, roles, ready))
        return
    import uvloop  # not there on Windows

    uvloop.run(serve(settings, roles, ready))
