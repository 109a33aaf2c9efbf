"""The sweep: what removes former bytes from the servers' files, done once for all erasures that wait for it.

A row that is updated or deleted leaves its bytes in its page, so tables are written anew; the write-ahead log
repeats what tables held, so it begins anew; purged commands leave theirs in a block of the stream's file, so
its blocks go. All of it costs the same for one tenant and for a hundred.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from handlers.adapters.command_stream import CommandStream
from handlers.adapters.effects import EffectFailed
from handlers.adapters.schemas import Connect


class StoreErased(msgspec.Struct, frozen=True, kw_only=True):
    """What went from a store: how much of what, by which means, and whether a second look found nothing."""

    store: str
    what: str
    count: int
    how: str
    verified: bool


WRITE_AHEAD_LOG, STATISTICS, LARGE_OBJECTS = "write-ahead log", "pg_statistic", "pg_largeobject pages"
SERVER_LOG, STATEMENTS, TEMPORARY = "server log", "pg_stat_statements", "temporary files"

OPERATORS = frozenset((WRITE_AHEAD_LOG, STATISTICS, LARGE_OBJECTS, SERVER_LOG, STATEMENTS, TEMPORARY))
"""Stores that are the server's own: whether the service may clear them is up to its operator."""

NOT_COVERED = (
    "base backups, dumps and copies of disks that were taken before",
    "what was archived of the write-ahead log before, and servers that once followed this one",
)
"""What no server can know of, and so no certificate covers; it ends as its own retention says."""

MEANS = """
SELECT current_setting('wal_recycle') = 'off',
    pg_has_role(current_user, 'pg_checkpoint', 'USAGE'),
    has_function_privilege('pg_switch_wal()', 'EXECUTE'),
    may.rewrite AND has_table_privilege('pg_catalog.pg_statistic', may.needs),
    may.rewrite AND has_table_privilege('pg_catalog.pg_largeobject', may.needs),
    ARRAY(
        SELECT 'wal_keep_size is ' || current_setting('wal_keep_size')
        WHERE current_setting('wal_keep_size') <> '0'
        UNION ALL SELECT 'archive_mode is ' || current_setting('archive_mode')
        WHERE current_setting('archive_mode') <> 'off'
        UNION ALL SELECT 'summarize_wal is on' WHERE current_setting('summarize_wal', true) = 'on'
        UNION ALL SELECT count(*) || ' replication slots stand' FROM pg_replication_slots HAVING count(*) > 0
        UNION ALL SELECT count(*) || ' servers follow this one' FROM pg_stat_activity
        WHERE backend_type = 'walsender' HAVING count(*) > 0),
    EXISTS (
        SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database() AND s.setrole = 0
        AND s.setconfig && ARRAY['log_min_messages=fatal', 'log_min_messages=panic']),
    NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements'),
    current_setting('remove_temp_files_after_crash') = 'on'
FROM (
    SELECT current_setting('server_version_num')::int >= 170000
        OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS rewrite,
    CASE WHEN current_setting('server_version_num')::int >= 170000 THEN 'MAINTAIN' ELSE 'DELETE' END AS needs
) may"""


class Means(NamedTuple):
    """What the server and its operator let an erasure do, and what keeps it; a row of MEANS."""

    removes_log: bool
    may_checkpoint: bool
    may_switch_log: bool
    may_rewrite_statistics: bool
    may_rewrite_large_objects: bool
    log_is_kept: list[str]
    log_is_closed: bool
    no_statements: bool
    removes_temporary: bool

    def missing(self) -> list[str]:
        """Return what the operator would have to do, so that an erasure may do all of it."""
        steps = {
            "ALTER SYSTEM SET wal_recycle = off": self.removes_log,
            "GRANT pg_checkpoint TO the service's role": self.may_checkpoint,
            "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO it": self.may_switch_log,
            "GRANT MAINTAIN ON pg_catalog.pg_statistic TO it": self.may_rewrite_statistics,
            "GRANT MAINTAIN ON pg_catalog.pg_largeobject TO it": self.may_rewrite_large_objects,
            f"keep no write-ahead log ({', '.join(self.log_is_kept)})": not self.log_is_kept,
            "ALTER DATABASE … SET log_min_messages = fatal, and warning for the service's role in it": (
                self.log_is_closed
            ),
            "DROP EXTENSION pg_stat_statements, or reset it after each purge": self.no_statements,
            "ALTER SYSTEM SET remove_temp_files_after_crash = on": self.removes_temporary,
        }
        return [step for step, done in steps.items() if not done]


_FIRST_NUMBER = re.compile(r"\d+")


class Sweep:
    """Sweeps `commands` and the database that `connect` gives connections to, one sweep at a time."""

    def __init__(self, connect: Connect, commands: CommandStream) -> None:
        self._connect, self._commands = connect, commands
        self._one = asyncio.Lock()
        self._next: asyncio.Future[tuple[StoreErased, ...]] | None = None

    async def done(self) -> tuple[StoreErased, ...]:
        """Wait for a sweep that begins from now on, with whoever else waits; says what PostgreSQL let it do.

        Raises EffectFailed while a reader of the database holds former rows, or commands that nobody decides
        hold a block of theirs, and what the servers' clients raise.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._after_the_present_one())
        return await asyncio.shield(self._next)

    async def _after_the_present_one(self) -> tuple[StoreErased, ...]:
        async with self._one:
            self._next = None  # what is deleted from now on may come too late for this one
            await self._commands.sweep()
            async with self._connect() as connection:
                row = await (await connection.execute(MEANS)).fetchone()
                assert row is not None
                means = Means(*row)
                await connection.execute("SET lock_timeout = '5s'")
                await _rewrite(connection, b"service.tenant_keys")
                return (
                    await _rewrite_statistics(connection, means),
                    await _rewrite_large_objects(connection, means),
                    await _begin_log_anew(connection, means),
                    *_left_to_the_server(means),
                )


async def _rewrite(connection: AsyncConnection[Any], table: bytes) -> None:
    """Write a table anew, which takes a lock of it meanwhile.

    A reader that is older than the end of a row keeps its bytes there, so the server is asked whether any
    stayed.
    """
    kept: list[int] = []

    def heard(notice: Diagnostic) -> None:
        found = _FIRST_NUMBER.search(notice.message_detail or "")
        if found is not None:
            kept.append(int(found[0]))

    connection.add_notice_handler(heard)
    try:
        await connection.execute(b"VACUUM (FULL, VERBOSE) " + table)
    finally:
        connection.remove_notice_handler(heard)
    if not kept or any(kept):
        raise EffectFailed("A reader of the database still holds what was there; it is tried again.")


async def _rewrite_statistics(connection: AsyncConnection[Any], means: Means) -> StoreErased:
    """Remove what the planner remembered of tables that are gone: the commonest values of their columns."""
    how, verified = "went with the tables; the catalogue rewritten", means.may_rewrite_statistics
    if verified:
        await connection.execute("SET lock_timeout = '1s'")  # whoever plans a query waits behind this one
        await _rewrite(connection, b"pg_catalog.pg_statistic")
    else:
        how = "went with the tables; not rewritten: the service may not rewrite the catalogue"
    return StoreErased(store=STATISTICS, what="statistics of tables", count=0, how=how, verified=verified)


async def _rewrite_large_objects(connection: AsyncConnection[Any], means: Means) -> StoreErased:
    """Remove the bytes of large objects that are gone: they stand in one table of all tenants."""
    how, verified = "the table of all large objects rewritten", means.may_rewrite_large_objects
    if verified:
        await connection.execute("SET lock_timeout = '1s'")
        await _rewrite(connection, b"pg_catalog.pg_largeobject")
    else:
        how = "not rewritten: the service may not rewrite the catalogue, so bytes of unlinked ones may stay"
    return StoreErased(store=LARGE_OBJECTS, what="former bytes", count=0, how=how, verified=verified)


def _left_to_the_server(means: Means) -> list[StoreErased]:
    """Return what becomes of what the server wrote by itself about the tenant's sessions."""
    told = "none was written: errors of tenants' sessions do not go to it"
    kept = "not erased: it may quote values of statements that failed in the tenant's sessions"
    ended = "removed by the server at the end of the tenant's sessions"
    crashed = "not erased where the server crashed meanwhile: remove_temp_files_after_crash is off"
    rows = [
        (SERVER_LOG, "messages", told if means.log_is_closed else kept, means.log_is_closed),
        (TEMPORARY, "files", ended if means.removes_temporary else crashed, means.removes_temporary),
    ]
    if not means.no_statements:
        rows.append((STATEMENTS, "statements", "not erased: texts of the tenant's statements stay", False))
    return [
        StoreErased(store=store, what=what, count=0, how=how, verified=verified)
        for store, what, how, verified in rows
    ]


async def _begin_log_anew(connection: AsyncConnection[Any], means: Means) -> StoreErased:
    """Have the server remove its write-ahead log up to here: it repeats what tables held."""
    how = "a new segment begun, and the former ones removed by a checkpoint"
    if not (means.may_switch_log and means.may_checkpoint):
        how = "left to the server's own checkpoints: the service may not ask for one"
    elif not means.removes_log:
        how = "not removed: wal_recycle is on, so the server uses its segments again as they are"
    elif means.log_is_kept:
        how = f"not removed: {', '.join(means.log_is_kept)}"
    if means.may_switch_log:
        await connection.execute("SELECT pg_switch_wal()")
    if means.may_checkpoint:
        await connection.execute("CHECKPOINT")
    may = means.removes_log and means.may_switch_log and means.may_checkpoint
    verified = may and not means.log_is_kept
    return StoreErased(store=WRITE_AHEAD_LOG, what="segments", count=0, how=how, verified=verified)
