"""What only a superuser can close of a database to the roles of tenants: `tenant_schema/superuser.sql`."""

from __future__ import annotations

from psycopg import sql

from handlers.adapters.statements import template


def for_superuser(service: str, database: str) -> str:
    """Return the statements, to be run in `database`, for the role `service`; again they change nothing."""
    names = {"{service}": service, "{database}": database}
    statements = template("superuser")
    for place, name in names.items():
        statements = statements.replace(place, sql.Identifier(name).as_string())
    return statements
