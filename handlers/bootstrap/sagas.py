"""The role of the sagas: their runner, and the adapters that their steps act through."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from prometheus_client import REGISTRY

from handlers.adapters import schemas
from handlers.adapters.keys import MasterKey, load_master_key
from handlers.adapters.notices import Mailer, Notices
from handlers.adapters.objects import buckets
from handlers.adapters.plans import Plans
from handlers.adapters.table import effects
from handlers.bootstrap.process import Process
from handlers.saga_runner.role import SagasRole
from handlers.saga_runner.worker import Limits
from handlers.settings import Settings


async def sagas_role(process: Process, started: AsyncExitStack) -> SagasRole:
    """Return the runner of the sagas; the connections that its effects keep end with `started`."""
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
        limits=Limits(
            concurrency=settings.saga_concurrency,
            lease=settings.saga_lease,
            per_tenant=settings.saga_runs_per_tenant,
            steps=settings.saga_step_limits,
        ),
    )


def _master_key(settings: Settings) -> MasterKey:
    path = settings.master_key_file or Path("master.key")
    return load_master_key(path, create=settings.create_keys)
