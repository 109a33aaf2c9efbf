"""The adapters that roles of a process act through, made from its settings."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from handlers.adapters.access import Access
from handlers.adapters.bucket_names import Kind
from handlers.adapters.certificates import CertificateKey
from handlers.adapters.clock import utc_now
from handlers.adapters.consumers import TenantConsumers
from handlers.adapters.deletion import Deletion
from handlers.adapters.effects import Effects
from handlers.adapters.erasure import Erasure
from handlers.adapters.exports.preservation import Preservation
from handlers.adapters.exports.shelf import Shelf
from handlers.adapters.key_files import named_by, private_key
from handlers.adapters.notices import Mailer, Notices
from handlers.adapters.objects import Buckets, buckets
from handlers.adapters.plans import Plans
from handlers.adapters.schemas import Connect
from handlers.adapters.table import effects
from handlers.bootstrap.process import Process
from handlers.bus.connection import publish
from handlers.settings import Settings
from handlers.store.connections import LASTING

ACCESS_AT_ONCE = 4
"""Tenants whose access is closed or opened at a time: it is the database's work, on few cores."""


def effects_of(process: Process, started: AsyncExitStack) -> Effects:
    """Return what the steps of sagas do; the connections that it keeps end with `started`."""
    settings = process.settings
    connect = connecting(process)
    own, places = _buckets(process, started, "t"), _buckets(process, started, "x")
    notices = _notices(process)
    preservation = Preservation(
        connect=connect,
        buckets=own,
        places=places,
        read_events=process.store.read_tenant,
        open_sealed=process.keyring.open_json,
        hand_over=notices.export_ready,
        now=utc_now,
    )
    deletion = Deletion(
        connect=connect,
        buckets=own,
        shelf=Shelf(places, connect),
        consumers=TenantConsumers(process.nc, process.subjects, process.streams),
        eraser=Erasure(connect, process.nc, process.subjects, process.streams),
        key=certificate_key(settings),
        issuer=settings.token_issuer,
        now=utc_now,
    )
    plans = Plans(connect, own)
    return effects(
        process.master_key,
        process.keyring,
        Access(_pooled(process, started)),
        own,
        notices,
        preservation,
        deletion,
        plans,
        connections=settings.tenant_connections,
    )


def export_shelf(process: Process, started: AsyncExitStack) -> Shelf:
    """Return where exports are fetched from; its connections end with `started`."""
    return Shelf(_buckets(process, started, "x"), connecting(process))


def certificate_key(settings: Settings) -> CertificateKey:
    """Return the key that certificates are signed with. Raises KeyFileError."""
    path = settings.certificate_key_file or Path("certificates.pem")
    with named_by("TENANTS_CERTIFICATE_KEY_FILE"):
        return CertificateKey(private_key(path, create=settings.create_keys))


def buckets_of(settings: Settings, kind: Kind) -> Buckets:
    """Return the buckets that the settings name, to be closed."""
    access_key, secret_key = (
        key.get_secret_value() if key else None
        for key in (settings.objects_access_key, settings.objects_secret_key)
    )
    return buckets(settings.objects_url, access_key, secret_key, kind=kind)


def _buckets(process: Process, started: AsyncExitStack, kind: Kind) -> Buckets:
    made = buckets_of(process.settings, kind)
    started.push_async_callback(made.close)
    return made


def _notices(process: Process) -> Notices:
    settings = process.settings
    mailer = (
        Mailer.at(settings.smtp_url.get_secret_value(), settings.smtp_sender) if settings.smtp_url else None
    )

    return Notices(partial(publish, process.nc), process.subjects, mailer)


def connecting(process: Process) -> Connect:
    """Return what gives a connection of its own, which commits each statement by itself."""

    @asynccontextmanager
    async def connect() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(process.postgres_url, **LASTING) as connection:
            yield connection

    return connect


def _pooled(process: Process, started: AsyncExitStack) -> Connect:
    """Return connections that are kept: to make one costs ten times what closing a tenant's access does."""
    pool = AsyncConnectionPool(
        process.postgres_url,
        min_size=0,
        max_size=ACCESS_AT_ONCE,
        open=False,
        kwargs=LASTING,
        check=AsyncConnectionPool.check_connection,
        name="access",
    )
    started.push_async_callback(pool.close)

    @asynccontextmanager
    async def connect() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        await pool.open()  # again changes nothing
        async with pool.connection() as connection:
            yield connection

    return connect
