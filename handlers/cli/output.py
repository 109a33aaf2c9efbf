"""What commands print: tables for a person, JSON lines for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec

Record = Mapping[str, Any]

WIDE = 200
"""Columns where nobody watches: nothing is cut off in a file."""


def encoded(record: object) -> str:
    """Return one JSON line."""
    return msgspec.json.encode(record).decode()


def lines(records: Iterable[object]) -> None:
    """Print records as JSON lines."""
    for record in records:
        text(encoded(record))


def text(line: str) -> None:
    """Print a line as it is."""
    sys.stdout.write(f"{line}\n")


def table(records: Iterable[Record], columns: Sequence[str], *, empty: str = "Nothing found.") -> None:
    """Print records as a table with these columns; `a.b` is the field `b` of the field `a`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [[Text(cell(record, column)) for column in columns] for record in records]
    if not rows:
        print(empty, file=sys.stderr)
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(column.rpartition(".")[2].replace("_", " "), overflow="fold")
    for row in rows:
        shown.add_row(*row)
    _console().print(shown)


def fields(record: Record, title: str | None = None) -> None:
    """Print one record, a field in a line."""
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2))
    for name, value in record.items():
        shown.add_row(Text(name.replace("_", " "), style="dim"), Text(_plain(value)))
    console = _console()
    if title:
        console.print(Text(title, style="bold"))
    console.print(shown)


async def listed(
    records: AsyncIterable[Record], columns: Sequence[str], *, as_json: bool, limit: int, empty: str
) -> None:
    """Print at most `limit` records (0: all) as they come, or as a table; says when there are more."""
    shown: list[Record] = []
    count = 0
    async for record in records:
        if limit and count == limit:
            print(f"More than {limit}: choose a larger --limit (0: all).", file=sys.stderr)
            break
        count += 1
        if as_json:
            lines((record,))
        else:
            shown.append(record)
    if not as_json:
        table(shown, columns, empty=empty)


def cell(record: Record, column: str) -> str:
    """Return one cell of a table."""
    value: Any = record
    for step in column.split("."):
        value = cast(Record, value).get(step) if isinstance(value, Mapping) else None
    return _plain(value)


def _plain(value: Any) -> str:
    match value:
        case None:
            return "–"
        case UUID() | datetime():
            return msgspec.to_builtins(value)
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return str(value)
        case _:
            return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
