"""Answers about single tenants that are kept in memory, and are exact at the position that they name.

What is kept of a tenant was read at some position. The projector tells of every step which rows it changed;
as long as its hints follow each other without a gap, a row that none of them named is the same at the
position of the last. After a gap nothing is kept. Hints may come late, twice, or in another order.

Whoever writes to a tenant's stream says so while its commit is under way, so before anybody can know of it:
then nothing is kept of that tenant for a while, and it is read where the log has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from time import monotonic
from typing import NamedTuple

from handlers.wire.hints import Moved

UNSETTLED = 2.0
"""Seconds; whoever writes for longer says so again (handlers/store/event_store.py)."""


class Mark(NamedTuple):
    """Which rows an answer was made of (see Moved)."""

    generation: int
    epoch: int


class _Kept(NamedTuple):
    position: int
    body: bytes


class Memory:
    """Rows of one read model, by the id of their stream.

    At most `capacity` are kept, of at most `largest` bytes each. Without a hint for `fresh` seconds
    nothing is given: whoever projects is away, or the hints are, and what is kept may be old (and says so).
    `unsettled` is for how many seconds nothing is kept of what is being written: longer than a commit takes.
    """

    def __init__(
        self,
        *,
        capacity: int = 50_000,
        largest: int = 4096,
        fresh: float = 0.3,
        unsettled: float = UNSETTLED,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._capacity = capacity
        self._largest = largest
        self._fresh = fresh
        self._unsettled = unsettled
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._written: dict[str, float] = {}
        """When each stream was last about to be written, the latest at the end."""
        self._mark = Mark(0, 0)
        self._position = 0
        self._shown = 0
        self._heard_at = -fresh

    def heard(self, moved: Moved) -> None:
        """Take in a hint."""
        mark = Mark(moved.generation, moved.epoch)
        if mark != self._mark or moved.since > self._position or moved.streams is None:
            self._kept.clear()
            self._mark = mark
        else:
            for stream in moved.streams:
                self._kept.pop(stream, None)
        if moved.upto >= self._position:
            self._position = moved.upto
            self._heard_at = self._clock()

    def written(self, streams: Iterable[str]) -> None:
        """Note that `streams` are being written: what is kept of them may be old before long."""
        now = self._clock()
        for stream in streams:
            self._kept.pop(stream, None)
            self._written.pop(stream, None)
            self._written[stream] = now
        for stream in list(takewhile(lambda each: self._settled(each, now), self._written)):
            del self._written[stream]

    def _settled(self, stream: str, now: float) -> bool:
        return now - self._written[stream] > self._unsettled

    def forget(self) -> None:
        """Begin anew: the database is another incarnation, and positions may have another meaning."""
        self._kept.clear()
        self._mark = Mark(0, 0)
        self._position = self._shown = 0
        self._heard_at = -self._fresh

    def showed(self, position: int) -> None:
        """Note that this process answered from `position`: nothing older is given from now on."""
        self._shown = max(self._shown, position)

    def keep(self, stream: str, mark: Mark, position: int, body: bytes) -> None:
        """Keep what was read at `position`, unless hints have told of later changes."""
        if mark != self._mark or position < self._position or len(body) > self._largest:
            return
        if stream in self._written and not self._settled(stream, self._clock()):
            return
        if len(self._kept) >= self._capacity:
            for oldest in list(islice(self._kept, self._capacity // 10 + 1)):
                del self._kept[oldest]
        self._kept[stream] = _Kept(position, body)

    def get(self, stream: str, min_position: int = 0) -> tuple[int, bytes] | None:
        """Return the body and a position that it is exact at, `min_position` or a later one; else None."""
        kept = self._kept.get(stream)
        if kept is None:
            return None
        position = max(kept.position, self._position)
        if position < max(self._shown, min_position) or self._clock() - self._heard_at > self._fresh:
            return None
        return position, kept.body
