"""What the service's role has to be allowed in PostgreSQL, and the statement that gives what it lacks."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg import errors

RIGHTS = b"""
SELECT quote_ident(current_user), quote_ident(current_database()), r.rolsuper OR r.rolcreaterole,
    has_database_privilege(current_database(), 'CREATE'),
    (SELECT quote_ident(pg_get_userbyid(nspowner)) FROM pg_namespace
     WHERE nspname = 'service' AND NOT pg_has_role(nspowner, 'USAGE')),
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool
FROM pg_roles r WHERE r.rolname = current_user"""
"""Its one row is for `rights_of`."""


class RightsMissing(Exception):
    """The role of TENANTS_POSTGRES_URL may not do what the service does; the message says what helps."""


class Right(NamedTuple):
    """A right that the service needs: whether it is given, what for or what stands in the way, what helps."""

    what: str
    given: bool
    found: str
    advice: str


def rights_of(row: tuple[Any, ...]) -> list[Right]:
    """Return the rights that the row of RIGHTS tells of; what few databases need, where it lacks."""
    user, database, create_role, create, owner, read_only = row
    rights = [
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
        rights.append(Right("right to the schema service", False, found, advice))
    if read_only:
        found = "this server takes no writes: it is a standby, or read-only"
        advice = "Name the primary in TENANTS_POSTGRES_URL, with target_session_attrs=read-write."
        rights.append(Right("writes", False, found, advice))
    return rights


def _right(what: str, given: bool, purpose: str, statement: str) -> Right:
    found = purpose if given else f"missing: {purpose}"
    return Right(what, given, found, f"As a superuser: {statement};")


async def missing_rights(postgres_url: str, refused: errors.InsufficientPrivilege) -> RightsMissing:
    """Return what tells of the rights for whose lack PostgreSQL `refused` something.

    Raises psycopg.Error.
    """
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        row = await (await connection.execute(RIGHTS)).fetchone()
    lacking = [right for right in rights_of(row or ()) if not right.given]
    if not lacking:
        said = str(refused).partition("\n")[0]
        return RightsMissing(f"PostgreSQL refuses: {said}. See Rights in docs/operating.md.")
    return RightsMissing(" ".join(f"{right.what}: {right.found}. {right.advice}" for right in lacking))
