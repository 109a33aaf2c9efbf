"""Hints between our own processes that say more than a position."""

from __future__ import annotations

import msgspec

MOST_STREAMS = 1000
"""Streams that one hint names: with more it says only that much changed."""


class Moved(msgspec.Struct, frozen=True, array_like=True):
    """A read model went from position `since` to `upto`, and only the rows of `streams` changed (None: any).

    `generation` and `epoch` say which rows these are: with others, nothing known of the former ones holds.
    With `since` and `upto` the same it only says that whoever projects is well, and has nothing to do.
    """

    read_model: str
    generation: int
    epoch: int
    since: int
    upto: int
    streams: list[str] | None


encoded = msgspec.json.Encoder().encode
decoded = msgspec.json.Decoder(Moved).decode
