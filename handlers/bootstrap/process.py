"""What all roles of a process share: connections to both servers, with schema and streams up to date."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import nats.errors
import psycopg
import structlog
from faststream.nats import NatsBroker
from nats.aio.client import Client
from psycopg import errors

from handlers.adapters import key_check, schemas
from handlers.adapters.beats import Beats
from handlers.adapters.hints import CommitListener, WriteTeller
from handlers.adapters.jetstream import Json
from handlers.adapters.key_hints import KeyHints
from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import MasterKey, load_master_key
from handlers.adapters.message_limit import MessageLimit
from handlers.bootstrap.patience import patiently
from handlers.bootstrap.watch import DatabaseWatch
from handlers.bus.connection import harden
from handlers.bus.marks import settle
from handlers.bus.streams import declare, definitions, limits_of
from handlers.client.connecting import connected as connection_to
from handlers.client.connecting import recognise
from handlers.logs import without_credentials
from handlers.relay.likeness import first_difference
from handlers.settings import Settings
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from handlers.store.rights import missing_rights
from handlers.wire.subjects import Streams, Subjects

log = structlog.get_logger()

REACHED_WITHIN = 3.0
"""Seconds that NATS has for a first connection, before it is said that it does not answer."""

PARTED_WITHIN = 2.0
"""Seconds that NATS has for the last that a process sends. All that counts was acknowledged before."""


class Process:
    """What the roles of one process share."""

    def __init__(
        self, settings: Settings, master_key: MasterKey, broker: NatsBroker, store: EventStore
    ) -> None:
        self.settings = settings
        self.master_key = master_key
        self.subjects = Subjects(settings.subject_prefix)
        self.streams = Streams.of(settings.subject_prefix)
        self.broker = broker
        self.key_hints = KeyHints(broker.connection, self.subjects.hint("erased"))
        self.keyring = Keyring(store.tenant_keys, master_key, hearing=self.key_hints.hearing)
        self.store = store
        store.announce = WriteTeller(broker.connection, self.subjects.hint("writing")).writing
        store.incarnation.heard_by(self.keyring.forget_all)
        self.watch = DatabaseWatch(store)
        self.commits = CommitListener(broker.connection, self.subjects.hint("committed"))
        self.postgres_url = settings.postgres_url.get_secret_value()
        self.limits = limits_of(settings)
        self.beats = Beats()
        self.largest = MessageLimit(broker.connection, self.streams.events)

    @property
    def nc(self) -> Client:
        """The connection to NATS that all parts of this process share."""
        return self.broker.connection

    @property
    def definitions(self) -> dict[str, Json]:
        """What each stream must be, by name."""
        return definitions(self.subjects, self.streams, self.limits)

    async def declare(self) -> frozenset[str]:
        """Make the streams that are missing, and mark them.

        Raises StreamWeakened, and ForeignStreams where they were made from another log.
        """
        missing = await declare(self.nc, self.subjects, self.streams, self.limits)
        await settle(self.nc, self.streams.events, self.definitions, await self.store.identity(), self._holds)
        await self.largest.look()
        return missing

    async def _holds(self, events: Json) -> bool:
        stream = self.streams.events
        return await first_difference(self.nc, self.store, stream, events, thorough=True) is None


@asynccontextmanager
async def connected(settings: Settings) -> AsyncGenerator[Process]:
    """Connect to both servers, and bring schema and streams up to date; wait for a server that is away.

    Raises MasterKeyError, ForeignStreams, RightsMissing.
    """
    master_key = load_master_key(settings.master_key_file or Path("master.key"), create=settings.create_keys)
    url = settings.postgres_url.get_secret_value()
    nats_url = settings.nats_url.get_secret_value()
    postgres, bus = without_credentials(url), without_credentials(nats_url)
    await patiently("a connection to PostgreSQL", postgres, partial(_greeted, url))
    tables = partial(migrate, url, partitions=settings.partitions)
    await patiently(
        "the tables, which another process may be making", postgres, partial(_permitted, url, tables)
    )
    roles = partial(_prepare, url, master_key)
    await patiently("the roles of tenants", postgres, partial(_permitted, url, roles))
    await patiently("a connection to NATS", bus, partial(_reached, nats_url))
    broker = NatsBroker(
        settings.nats_servers,
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
        await patiently("a connection to NATS", bus, broker.connect)
        harden(broker.connection)
        recognise(broker.connection)
        process = Process(settings, master_key, broker, store)
        try:
            await patiently("the streams", bus, process.declare)
            await process.key_hints.start(process.keyring.forget)
            await process.watch.start()
            try:
                yield process
            finally:
                await process.watch.stop()
        finally:
            await process.key_hints.stop()
            await _parted(broker)


async def _parted(broker: NatsBroker) -> None:
    """End the connection to NATS: with what it still has to send, or where nobody takes that, without."""
    nc = broker.connection
    try:
        async with asyncio.timeout(PARTED_WITHIN):
            await broker.stop()
    except (nats.errors.Error, OSError, TimeoutError) as error:
        log.warning("stopped without a word to NATS", why=str(error) or type(error).__name__)
        with suppress(nats.errors.Error, OSError, RuntimeError):  # uvloop's, of a socket that is closed
            await nc.close()


async def _permitted(url: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`. Raises RightsMissing where the role may not."""
    try:
        await work()
    except errors.InsufficientPrivilege as error:
        raise await missing_rights(url, error) from error


async def _greeted(url: str) -> None:
    """Connect once: whether the server is there and knows us is another thing than what it does for us."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=10)
    await connection.close()


async def _prepare(url: str, master_key: MasterKey) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await key_check.require(connection, master_key)
        await schemas.prepare(connection)


async def _reached(url: str) -> None:
    """Connect once: the lasting connection tries by itself for ever, and does not say why it must."""
    nc = await connection_to(url, REACHED_WITHIN, {"name": "tenants"})
    await nc.close()
