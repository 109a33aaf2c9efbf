"""Real servers for tests: one shared stack per pytest process, and databases of one's own on it."""

import asyncio
import base64
import json
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import nats.errors
import psycopg
from nats.aio.client import Client
from psycopg import sql

from deploy.embedded import EmbeddedStack, Endpoints, postgres
from deploy.embedded.datafolder import DataFolder
from handlers.projector.rebuild import make
from handlers.store.connections import Connections
from handlers.store.migrate import migrate
from projections.registry import READ_MODELS
from tests.support.waiting import PATIENCE

T = TypeVar("T")

MEMORY = Path("/dev/shm")
ROOM = 16 * 1024**3
"""Bytes: streams reserve what they may grow to, of the three quarters that a nats-server gives out."""


def public_folder() -> Path:
    """Return a new folder that every account may enter, as the servers' one must; pytest's own may not be.

    It is in memory where there is room. The servers sync as ever, and it costs them nothing: no test takes
    the power away, and what a killed process has written stays.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    return disk_folder(MEMORY if roomy else None)


def disk_folder(place: Path | None = None) -> Path:
    """Return a new folder that every account may enter, in the place for temporary files unless told."""
    folder = Path(tempfile.mkdtemp(prefix="tenants-test-", dir=place))
    folder.chmod(0o755)
    return folder


def prepare_folder(folder: Path) -> None:
    """Make a data folder with a prepared database, at rest, for `copy_folder`."""

    async def start_and_stop() -> None:
        async with EmbeddedStack(folder):
            pass

    with ThreadPoolExecutor(1) as aside:  # whatever event loop the calling thread has stays as it is
        aside.submit(asyncio.run, start_and_stop()).result()


def copy_folder(prepared: Path, folder: Path) -> None:
    """Copy a prepared data folder, which is quicker than initdb; the copy gets ports of its own."""
    subprocess.run(["cp", "-a", str(prepared), str(folder)], check=True)
    copy = DataFolder(folder)
    copy.keep(replace(copy.remember(), nats_port=0, postgres_port=0))


class SharedStack:
    """One embedded stack for all tests of a process, supervised by a thread and event loop of its own.

    It begins with a copy of a prepared folder.
    Tests must not kill or pause it. Its NATS has one account for all: use unique subjects and stream names.
    """

    def __init__(self, prepared: Path) -> None:
        self._root = public_folder()
        self._folder = self._root / "data"
        copy_folder(prepared, self._folder)
        self._stack = EmbeddedStack(self._folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shared-stack", daemon=True)
        self._roles: dict[str, frozenset[str]] = {}
        self._migrated: str | None = None
        self._projected: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._stack.start())
        self._admin = self._run(self._connected_as_admin())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._admin.close())
        self._run(self._stack.stop())
        self._run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._root)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _aside(self, work: Coroutine[Any, Any, T]) -> T:
        """Have work done in the stack's own event loop, where the administrator's connection is."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _connected_as_admin(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        self._admin_url = postgres.admin_url(DataFolder(self._folder).remember())
        return await psycopg.AsyncConnection.connect(self._admin_url, autocommit=True)

    @property
    def endpoints(self) -> Endpoints:
        """Where the servers are; the database `tenants` is there too, but not for tests that write."""
        return self._stack.endpoints

    @property
    def nats_url(self) -> str:
        """The shared nats-server, with the credentials of a trusted service."""
        return self.endpoints.nats_url

    @property
    def admin_url(self) -> str:
        """The superuser's URL, for what an administrator does before the service may start."""
        return self._admin_url

    def files_of(self, stream: str) -> Path:
        """Return the folder in which the nats-server keeps a stream."""
        return next(DataFolder(self._folder).nats.glob(f"**/streams/{stream}"))

    async def fresh_database(self) -> str:
        """Create an empty database that the service's role owns, and return its URL."""
        name = await self._aside(self._create("template1"))
        await self._aside(postgres.close_database(DataFolder(self._folder).remember(), name))
        return self._url(name)

    async def migrated_database(self) -> str:
        """Copy a database that was migrated once, which is quicker than migrating again; return its URL."""
        if self._migrated is None:
            url = await self.fresh_database()
            await migrate(url)
            self._migrated = urlsplit(url).path.removeprefix("/")
        return self._url(await self._aside(self._create(self._migrated)))

    async def projected_database(self) -> str:
        """Copy a migrated database whose read models were made once; return its URL."""
        if self._projected is None:
            url = await self.migrated_database()
            await make_read_models(url)
            self._projected = urlsplit(url).path.removeprefix("/")
        return self._url(await self._aside(self._create(self._projected)))

    async def as_superuser(self, url: str, statements: str) -> list[tuple[Any, ...]]:
        """Run statements in a database as the server's superuser; returns the rows of the last one."""
        own = urlsplit(self._admin_url)._replace(path=urlsplit(url).path).geturl()
        async with await psycopg.AsyncConnection.connect(own, autocommit=True) as connection:
            cursor = await connection.execute(statements.encode())
            while cursor.nextset():
                pass
            return await cursor.fetchall() if cursor.description else []

    async def drop_database(self, url: str) -> None:
        """Drop a fresh database, whoever is still connected, and the roles made since that own no more."""
        await self._aside(self._drop(urlsplit(url).path.removeprefix("/")))

    def _url(self, name: str) -> str:
        return urlsplit(self.endpoints.postgres_url)._replace(path=f"/{name}").geturl()

    async def _create(self, template: str) -> str:
        name = f"test_{secrets.token_hex(8)}"
        self._roles[name] = await _roles(self._admin)
        await self._admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy").format(
                *(sql.Identifier(word) for word in (name, postgres.USER, template))
            )
        )
        # A copy has the rights of its template, but not its settings.
        await self._admin.execute(
            sql.SQL("ALTER DATABASE {} SET log_min_messages = fatal").format(sql.Identifier(name))
        )
        return name

    async def _drop(self, name: str) -> None:
        await self._admin.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )
        for role in await _roles(self._admin) - self._roles.pop(name):
            try:
                await self._admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
            except psycopg.errors.DependentObjectsStillExist:
                continue  # it belongs to another database of this test, which goes later


async def make_read_models(url: str) -> None:
    """Make the read models of a migrated database that are not there yet."""
    connections = Connections(
        url, readers=1, statement_timeout=60, lock_timeout=60, idle_timeout=60, pool_timeout=60
    )
    await connections.open()
    for model in READ_MODELS.values():
        await make(url, connections, model)
    await connections.close()


async def _roles(admin: psycopg.AsyncConnection[tuple[Any, ...]]) -> frozenset[str]:
    return frozenset(row[0] for row in await (await admin.execute("SELECT rolname FROM pg_roles")).fetchall())


async def remember(endpoints: Endpoints) -> None:
    """Leave a note in both servers."""
    async with await psycopg.AsyncConnection.connect(endpoints.postgres_url) as connection:
        await connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
    client = Client()
    await client.connect(endpoints.nats_url)
    stream = b'{"name": "NOTES", "subjects": ["notes"]}'
    await client.request("$JS.API.STREAM.CREATE.NOTES", stream, timeout=PATIENCE)
    await client.request("notes", b"kept", timeout=PATIENCE)
    await client.close()


async def recall(endpoints: Endpoints) -> tuple[str, bytes]:
    """Return the notes that PostgreSQL and NATS kept."""
    async with await psycopg.AsyncConnection.connect(endpoints.postgres_url) as connection:
        row = await (await connection.execute("SELECT text FROM note")).fetchone()
    client = Client()
    await client.connect(endpoints.nats_url)
    last = b'{"last_by_subj": "notes"}'
    reply = await client.request("$JS.API.STREAM.MSG.GET.NOTES", last, timeout=PATIENCE)
    await client.close()
    assert row is not None
    return row[0], base64.b64decode(json.loads(reply.data)["message"]["data"])


async def nats_refuses(url: str) -> bool:
    """Whether the nats-server does not let in who comes with this URL."""
    client = Client()
    try:
        await client.connect(url, allow_reconnect=False, error_cb=_ignore)
    except nats.errors.Error as error:
        return "Authorization Violation" in str(error)
    finally:
        await client.close()
    return False


async def _ignore(error: Exception) -> None:
    """The error is raised to the caller, too."""
