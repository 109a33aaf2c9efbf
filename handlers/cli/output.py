"""What commands print: tables for a person, JSON lines for a program."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

Record = Mapping[str, Any]

WIDE = 200
"""Columns where nobody watches: nothing is cut off in a file."""

NARROW = 10
"""Columns in which a text that goes on in the next line can still be read."""

_ID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What would steer a terminal, and does not come from us: dead letters hold what anybody sent."""


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
    """Print records as a table with these columns; `a.b` is the field `b` of the field `a`.

    Ids stand in one line, to be copied; the other columns give way. Where that leaves too little for them,
    each record is printed by itself, a field in a line.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    titles = [column.rpartition(".")[2].replace("_", " ") for column in columns]
    rows = [[cell(record, column) for column in columns] for record in records]
    if not rows:
        print(empty, file=sys.stderr)
        return
    console = _console()
    widths = _widths([titles, *rows], console.width - _frame(len(titles)))
    if widths is None:
        for row in rows:
            _print_fields(console, dict(zip(titles, row, strict=True)))
            console.print()
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, width in zip(titles, widths, strict=True):
        shown.add_column(title, overflow="fold", width=width)
    for row in rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def _frame(columns: int) -> int:
    """Return how many characters of a line stand between so many columns, and around them."""
    return 3 * columns - 1


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return a width for each column, all together within `room`; None where there is not enough of it."""
    columns = list(zip(*rows, strict=True))
    whole = [max(map(_longest_line, column)) for column in columns]
    least = [max(map(_least, column)) for column in columns]
    if sum(least) > room:
        return None
    widths = least
    while sum(widths) < room and (narrow := [n for n, width in enumerate(widths) if width < whole[n]]):
        # The narrowest grows first, so that no column waits for a long one.
        widths[min(narrow, key=widths.__getitem__)] += 1
    return widths


def _longest_line(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")))


def _least(text: str) -> int:
    """Return the width that a cell needs: for a word with an id in it all of that, else enough to be read."""
    words = [len(word) for word in text.split() if _ID.search(word)]
    return max(*words, min(_longest_line(text), NARROW)) if words else min(_longest_line(text), NARROW)


def fields(record: Record) -> None:
    """Print one record, a field in a line."""
    named = {name.replace("_", " "): _plain(value) for name, value in record.items()}
    _print_fields(_console(), named)


def _print_fields(console: Console, named: Mapping[str, str]) -> None:
    """Print fields; lines are not broken here: what a terminal breaks itself is copied in one piece."""
    from rich.text import Text

    width = max(map(len, named), default=0)
    for name, value in named.items():
        first, *more = value.split("\n")
        console.print(Text.assemble((f"{name:<{width}}", "dim"), "  ", first), soft_wrap=True)
        for line in more:
            console.print(Text(f"{'':<{width}}  {line}"), soft_wrap=True)


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
            return value if value.isprintable() else _UNPRINTABLE.sub(_escaped, value)
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return str(value)
        case _:
            return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
