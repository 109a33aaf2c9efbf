"""What a query read, and how an answer is put together from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from projections.forms import Page, cursor_of


class Read(NamedTuple):
    """The position that was read at, and the answer from it; `answer` raises the Refusal where that is one.

    `nothing` was found: it is still to be asked whether the tenant exists at all.
    """

    position: int
    answer: Callable[[], bytes]
    nothing: bool = False


class Item(NamedTuple):
    """An item of a page, as JSON, and the key that a cursor goes on after."""

    key: int
    body: bytes


def closed(body: bytes, position: int) -> bytes:
    """Return an object's JSON with its position."""
    return b'%b,"position":%d}' % (body[:-1], position)


def page(query: str, form: Page, items: Sequence[Item], position: int) -> bytes:
    """Return a page of `items`, of which one more than asked for was read, if there is one."""
    shown = items[: form.limit]
    cursor = cursor_of(query, shown[-1].key) if len(items) > form.limit else None
    bodies = b",".join([item.body for item in shown])
    return b'{"items":[%b],"next_cursor":%b,"position":%d}' % (bodies, msgspec.json.encode(cursor), position)
