"""What all roles of a process share: connections to both servers, with schema and streams up to date."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import psycopg
import structlog
from faststream.nats import NatsBroker
from nats.aio.client import Client

from handlers.adapters import schemas
from handlers.adapters.hints import CommitListener, WriteTeller
from handlers.adapters.jetstream import JetStreamError
from handlers.adapters.key_hints import KeyHints
from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import MasterKey, load_master_key
from handlers.bus.connection import harden
from handlers.bus.streams import declare, limits_of
from handlers.settings import Settings
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from handlers.wire.subjects import Streams, Subjects

log = structlog.get_logger()

_AWAY = (psycopg.OperationalError, nats.errors.Error, OSError, TimeoutError, JetStreamError)

LONGEST_PAUSE = 2.0
"""Seconds between two tries to reach a server at the start."""


class Process:
    """What the roles of one process share."""

    def __init__(
        self, settings: Settings, master_key: MasterKey, broker: NatsBroker, store: EventStore
    ) -> None:
        self.settings = settings
        self.master_key = master_key
        self.subjects = Subjects(settings.subject_prefix)
        self.streams = Streams()
        self.broker = broker
        self.key_hints = KeyHints(broker.connection, self.subjects.hint("erased"))
        self.keyring = Keyring(store.tenant_keys, master_key, hearing=self.key_hints.hearing)
        self.store = store
        store.announce = WriteTeller(broker.connection, self.subjects.hint("writing")).writing
        self.commits = CommitListener(broker.connection, self.subjects.hint("committed"))
        self.postgres_url = settings.postgres_url.get_secret_value()
        self.limits = limits_of(settings)

    @property
    def nc(self) -> Client:
        """The connection to NATS that all parts of this process share."""
        return self.broker.connection

    async def declare(self) -> frozenset[str]:
        """Make the streams that are missing; raises when one would be weakened."""
        return await declare(self.nc, self.subjects, self.streams, self.limits)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncGenerator[Process]:
    """Connect to both servers, and bring schema and streams up to date; wait for a server that is away.

    Raises MasterKeyError.
    """
    master_key = load_master_key(settings.master_key_file or Path("master.key"), create=settings.create_keys)
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
    async with EventStore(
        url,
        readers=settings.pool_size,
        snapshot_every=settings.snapshot_every,
        turn_timeout=max(settings.unavailable_after, 1.0),  # less might never be enough to connect
    ) as store:
        await _patiently("nats", broker.connect)
        harden(broker.connection)
        process = Process(settings, master_key, broker, store)
        try:
            await _patiently("nats", process.declare)
            await process.key_hints.start(process.keyring.forget)
            yield process
        finally:
            await process.key_hints.stop()
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
