"""A prepared database, with tenants in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from handlers.adapters import schemas
from handlers.adapters.effects import Work
from tests.handlers.adapters.tenant_database import Database
from tests.handlers.adapters.works import of_tenant, work_on


@pytest.fixture
async def database(store_url: str) -> Database:
    database = Database(store_url)
    async with database.connect() as connection:
        await schemas.prepare(connection)
    return database


@pytest.fixture
async def tenant(database: Database) -> Work:
    work = work_on()
    await database.create(work)
    return work


@pytest.fixture
async def door(database: Database, tenant: Work) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await database.log_in(tenant.tenant_id) as connection:
        yield connection


@pytest.fixture
async def other(database: Database) -> Work:
    work = of_tenant(work_on(), uuid4())
    await database.create(work)
    return work
