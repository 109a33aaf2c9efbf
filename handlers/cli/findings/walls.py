"""What tenants' roles could do to the service and to each other, and what it may do about that."""

from __future__ import annotations

from typing import NamedTuple

from handlers.cli.findings.finding import Finding
from handlers.settings import Settings
from handlers.store.connections import Connections

ADVICE = "As a superuser, in the service's database: `tenantctl database-rights <role> <database> | psql …`"

_REACH = b"""
SELECT
    (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
        AND p.proname ~ '^(lo_|loread$|lowrite$|pg_(try_)?advisory_)'
        AND has_function_privilege('public', p.oid, 'EXECUTE')),
    (SELECT count(*) FROM pg_class c
        WHERE c.relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
        AND (c.relname ~ '^(pg_stat_|pg_statio_|pg_stats)'
            OR c.relname IN ('pg_locks', 'pg_class', 'pg_auth_members'))
        AND has_table_privilege('public', c.oid, 'SELECT')),
    pg_has_role('pg_read_all_stats', 'USAGE') AND pg_has_role('pg_signal_backend', 'USAGE'),
    has_column_privilege('pg_catalog.pg_authid', 'xmin', 'SELECT'),
    current_setting('reserved_connections')::int > 0 AND pg_has_role('pg_use_reserved_connections', 'USAGE'),
    (SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE m.member = current_user::regrole AND r.rolname ~ '^t_[0-9a-f]{32}$'),
    current_setting('max_prepared_transactions')::int > 0,
    NOT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database() AND s.setrole = 0
        AND array_to_string(s.setconfig, ' ') ~ 'temp_file_limit=')
"""

_SESSIONS = b"""
SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8,
    count(*) FILTER (WHERE clock_timestamp() - xact_start > make_interval(secs => %s))
FROM pg_stat_activity WHERE usename ~ '^t_[0-9a-f]{32}$'"""


class _Reach(NamedTuple):
    open_functions: int
    open_statistics: int
    sees_sessions: bool
    sees_roles: bool
    has_reserve: bool
    memberships: int
    may_prepare: bool
    unlimited_files: bool


async def reach(pool: Connections, chosen: Settings) -> list[Finding]:
    """Look for what is open, and at tenants' sessions. Raises StoreError."""
    (row,) = await pool.fetch(_REACH, ())
    what, wanting = "tenants' reach", _wanting(_Reach(*row))
    closed = Finding(what, "ok", "closed as far as PostgreSQL can close it")
    open_ = Finding(what, "look", "; ".join(wanting), ADVICE)
    return [open_ if wanting else closed, await _sessions(pool, chosen)]


def _wanting(reach: _Reach) -> list[str]:
    functions, views = reach.open_functions, reach.open_statistics
    told = {
        f"{functions} functions of large objects and advisory locks are open to tenants": functions,
        f"{views} views of statistics and sizes are open to tenants": views,
        "tenants' sessions are seen only by lending their roles (pg_read_all_stats, pg_signal_backend)": (
            not reach.sees_sessions
        ),
        "a changed password is not seen (SELECT (rolname, xmin) ON pg_authid)": not reach.sees_roles,
        "no connections are reserved (reserved_connections of postgresql.conf, from a restart on;"
        " pg_use_reserved_connections)": (not reach.has_reserve),
        f"the service is a member of {reach.memberships} tenants' roles, which costs every backend": (
            reach.memberships
        ),
        "a prepared transaction of a tenant would stay for good (max_prepared_transactions = 0 in"
        " postgresql.conf, from a restart on)": (reach.may_prepare),
        "tenants' temporary files have no limit (temp_file_limit)": reach.unlimited_files,
    }
    return [sentence for sentence, so in told.items() if so]


async def _sessions(pool: Connections, chosen: Settings) -> Finding:
    ((count, oldest, late),) = await pool.fetch(_SESSIONS, (2 * chosen.tenant_transaction_limit,))
    found = f"{count} sessions of tenants, the oldest transaction {oldest:.0f} s old"
    if late:
        return Finding(
            "tenants' sessions", "broken", found, "Start `tenantctl serve --role sagas`: it ends them."
        )
    return Finding("tenants' sessions", "ok", found)
