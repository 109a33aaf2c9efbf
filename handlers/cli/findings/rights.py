"""Rights in PostgreSQL: what the service's role may do, each that it lacks with the statement that helps."""

from __future__ import annotations

from handlers.cli.findings.finding import Finding
from handlers.store.connections import Connections

_RIGHTS = b"""
SELECT quote_ident(current_user), quote_ident(current_database()), r.rolsuper OR r.rolcreaterole,
    has_database_privilege(current_database(), 'CREATE'),
    (SELECT quote_ident(pg_get_userbyid(nspowner)) FROM pg_namespace
     WHERE nspname = 'service' AND NOT pg_has_role(nspowner, 'USAGE')),
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool
FROM pg_roles r WHERE r.rolname = current_user"""


async def postgres(pool: Connections) -> list[Finding]:
    """Look for each right that the service needs."""
    ((user, database, create_role, create, owner, read_only),) = await pool.fetch(_RIGHTS, ())
    findings = [
        _right(
            "right CREATEROLE",
            create_role,
            f"{user} makes each tenant's role",
            f"ALTER ROLE {user} CREATEROLE",
        ),
        _right(
            "right CREATE",
            create,
            f"{user} makes schemas in {database}",
            f"GRANT CREATE ON DATABASE {database} TO {user}",
        ),
    ]
    if owner is not None:
        found = f"the schema service belongs to {owner}, and {user} is no member"
        advice = f"As a superuser: GRANT {owner} TO {user}; or connect as {owner}."
        findings.append(Finding("right to the schema service", "broken", found, advice))
    if read_only:
        found = "this server takes no writes: it is a standby, or read-only"
        advice = "Name the primary in TENANTS_POSTGRES_URL, with target_session_attrs=read-write."
        findings.append(Finding("writes", "broken", found, advice))
    return findings


def _right(what: str, given: bool, purpose: str, statement: str) -> Finding:
    if given:
        return Finding(what, "ok", purpose)
    return Finding(what, "broken", f"missing: {purpose}", f"As a superuser: {statement};")
