"""Statements for tenants' schemas, from the templates in `tenant_schema/`."""

from __future__ import annotations

from importlib.resources import files

from psycopg import sql

_FOLDER = files("handlers.adapters") / "tenant_schema"


def template(name: str) -> str:
    """Return the text of `tenant_schema/<name>.sql`; raises FileNotFoundError."""
    return _FOLDER.joinpath(f"{name}.sql").read_text()


def trusted(statements: str) -> sql.SQL:
    """Mark statements as ours: all that is put into them are names and figures that we make."""
    return sql.SQL(statements)  # pyright: ignore[reportArgumentType]
