"""A schema's tables as SQL: statements that make them, from the catalogue, and their rows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from psycopg import AsyncConnection, sql

FETCHED = 2000
"""Most rows that are read at a time, of SQL and of Parquet."""

BUFFERED = 8 * 1024 * 1024
"""Most bytes of rows that are read at a time, as text; one row that is longer is read alone."""

_IN_ONE_STATEMENT = 200

_COLUMNS = """
SELECT c.relname, a.attname, t.typname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
    a.attgenerated, pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)
    AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum"""

_CONSTRAINTS = """
SELECT quote_ident(c.relname), quote_ident(k.conname), pg_get_constraintdef(k.oid, true)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) AND k.contype <> 'n'
    AND (k.contype = 'f') = %s
ORDER BY c.relname, k.conname"""

_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid, 0, true)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s)
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
ORDER BY i.indexrelid::regclass::text"""


class Column(NamedTuple):
    """A column as the catalogue has it; `type` is the short name of its type, `declared` what makes it."""

    name: str
    type: str
    declared: str
    not_null: bool
    identity: str
    generated: str
    default: str | None

    @property
    def sql(self) -> str:
        """What makes the column in a CREATE TABLE."""
        parts = [_quoted(self.name), self.declared]
        if self.generated:
            parts.append(f"GENERATED ALWAYS AS ({self.default}) STORED")
        elif self.identity:
            parts.append(f"GENERATED {'ALWAYS' if self.identity == 'a' else 'BY DEFAULT'} AS IDENTITY")
        elif self.default is not None:
            parts.append(f"DEFAULT {self.default}")
        return " ".join([*parts, "NOT NULL"] if self.not_null else parts)


class Table(NamedTuple):
    """A table and its columns, in their order."""

    name: str
    columns: tuple[Column, ...]

    @property
    def written(self) -> tuple[Column, ...]:
        """The columns that are written; the others follow from them."""
        return tuple(column for column in self.columns if not column.generated)


async def of(connection: AsyncConnection[Any], schema: str) -> list[Table]:
    """Return the tables of `schema`; none where there is no such schema."""
    found = await (await connection.execute(_COLUMNS, (schema,))).fetchall()
    return [
        Table(name, tuple(Column(*row[1:]) for row in rows)) for name, rows in groupby(found, itemgetter(0))
    ]


async def at_a_time(connection: AsyncConnection[Any], table: Table) -> int:
    """Return how many rows of the table may be read at a time, whichever they are.

    That the longest one decides costs a pass over the table, and bounds the memory that an export takes.
    """
    query = sql.SQL("SELECT max(octet_length(t::text)) FROM {} t").format(sql.Identifier(table.name))
    row = await (await connection.execute(query)).fetchone()
    longest: int = (row and row[0]) or 1
    return min(FETCHED, max(1, BUFFERED // longest))


async def schema_sql(connection: AsyncConnection[Any], schema: str, tables: list[Table]) -> bytes:
    """Return the statements that make the tables, their keys and indexes; names stand without a schema.

    The search path of `connection` must be `schema`.
    """
    statements = [
        f"CREATE TABLE {_quoted(table.name)} (\n    "
        + ",\n    ".join(column.sql for column in table.columns)
        + "\n)"
        for table in tables
    ]
    statements += await _constraints(connection, schema, foreign=False)
    indexes = await (await connection.execute(_INDEXES, (schema,))).fetchall()
    return _script(statements + [row[0] for row in indexes])


async def constraints_sql(connection: AsyncConnection[Any], schema: str) -> bytes:
    """Return the statements that hold only once all rows are there: references between tables."""
    return _script(await _constraints(connection, schema, foreign=True))


async def rows_sql(connection: AsyncConnection[Any], table: Table) -> AsyncGenerator[bytes]:
    """Yield INSERT statements of all rows, every value as PostgreSQL itself writes it down."""
    values = sql.SQL(" || ', ' || ").join(
        sql.SQL("quote_nullable({}::text)").format(sql.Identifier(column.name)) for column in table.written
    )
    names = ", ".join(_quoted(column.name) for column in table.written)
    head = f"INSERT INTO {_quoted(table.name)} ({names}) OVERRIDING SYSTEM VALUE VALUES\n"
    query = sql.SQL("SELECT {} FROM {}").format(values, sql.Identifier(table.name))
    count = await at_a_time(connection, table)
    async with connection.cursor(name="rows_sql") as cursor:
        await cursor.execute(query)
        while rows := await cursor.fetchmany(count):
            for start in range(0, len(rows), _IN_ONE_STATEMENT):
                lines = ",\n".join(f"({row[0]})" for row in rows[start : start + _IN_ONE_STATEMENT])
                yield f"{head}{lines};\n".encode()


async def _constraints(connection: AsyncConnection[Any], schema: str, *, foreign: bool) -> list[str]:
    found = await connection.execute(_CONSTRAINTS, (schema, foreign))
    return [
        f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
        for table, name, definition in await found.fetchall()
    ]


def _script(statements: list[str]) -> bytes:
    return "".join(f"{statement};\n" for statement in statements).encode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
