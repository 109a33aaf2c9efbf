"""Tenants cannot take the connections that the service needs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from uuid import uuid4

import psycopg

from handlers.adapters import schemas
from tests.handlers.adapters.tenant_database import Database
from tests.handlers.adapters.works import of_tenant, work_on

MANY = 16
"""Tenants: with all connections that their roles may have, more than the server has."""


async def test_the_service_connects_when_tenants_hold_all_that_they_can(database: Database):
    tenants = [of_tenant(work_on(), uuid4()) for _ in range(MANY)]
    for tenant in tenants:
        await database.create(tenant)
    async with AsyncExitStack() as held:
        refused = 0
        for tenant in tenants:
            for _ in range(schemas.CONNECTIONS):
                try:
                    held.push_async_callback((await database.log_in(tenant.tenant_id)).close)
                except psycopg.OperationalError:
                    refused += 1
                    break
        assert refused, "the tenants took all they wanted: more of them are needed here"
        assert await database.sql("SELECT 1") == [(1,)]
