"""A database of the service with doors for its tenants, where effects are called by hand."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from handlers.adapters import schemas
from handlers.adapters.access import Access
from handlers.adapters.effects import Work
from handlers.adapters.schemas import schema_of
from tests.handlers.adapters.works import KEY, inside


class Database:
    """A database of the service, and the doors of its tenants."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.access = Access(self.connect)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            yield connection

    async def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.connect() as connection:
            cursor = await connection.execute(query.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def create(self, work: Work) -> None:
        async with self.connect() as connection, connection.transaction():
            await schemas.create_schema(inside(work, connection), key=KEY)

    async def drop(self, work: Work) -> None:
        async with self.connect() as connection, connection.transaction():
            await schemas.drop_schema(inside(work, connection))

    def tenant_url(self, tenant_id: UUID, database: str | None = None) -> str:
        parts = urlsplit(self.url)
        door = f"{schema_of(tenant_id)}:{KEY.database_password(tenant_id)}@{parts.hostname}:{parts.port}"
        path = f"/{database}" if database else parts.path
        return parts._replace(netloc=door, path=path).geturl()

    async def log_in(self, tenant_id: UUID) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self.tenant_url(tenant_id), autocommit=True)

    async def exists(self, tenant_id: UUID) -> tuple[bool, bool]:
        """Return whether the tenant has a schema, and a role."""
        name = schema_of(tenant_id)
        schema = await self.sql("SELECT 1 FROM pg_namespace WHERE nspname = %s", name)
        role = await self.sql("SELECT 1 FROM pg_roles WHERE rolname = %s", name)
        return bool(schema), bool(role)
