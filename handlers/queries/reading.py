"""What a query read, and how an answer is put together from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from projections.forms import Page, cursor_of

LARGEST_PAGE = 768 * 1024
"""Bytes of a page's items: NATS carries 1 MiB by default, and the rest of the page is small."""


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


def page(query: str, form: Page, items: Sequence[Item], position: int, goes_on: int | None = None) -> bytes:
    """Return a page of `items`, of which one more than asked for was read, if there is one.

    It ends early where it would get larger than a message may be; its cursor goes on from there. `goes_on` is
    the key up to which items were looked for, when there may be more behind it.
    """
    size = count = 0
    for item in items[: form.limit]:
        size += len(item.body)
        if count and size > LARGEST_PAGE:
            break
        count += 1
    last = items[count - 1].key if count < len(items) else goes_on
    cursor = None if last is None else cursor_of(query, last)
    bodies = b",".join([item.body for item in items[:count]])
    return b'{"items":[%b],"next_cursor":%b,"position":%d}' % (bodies, msgspec.json.encode(cursor), position)
