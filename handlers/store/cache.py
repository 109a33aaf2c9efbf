"""States of recently used streams, kept by whoever decides: write-through, and evicted on a conflict."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from uuid import UUID

from handlers.store.snapshots import Loaded


class StreamCache:
    """A bounded map from stream to (state, version); the least recently used one goes first.

    An entry may be stale (another process wrote): the append says so, and then `evict` it.
    """

    def __init__(self, size: int = 50_000) -> None:
        """Hold at most `size` streams: at about 2 KB a tenant, 50,000 are some 100 MB."""
        self._size = size
        self._entries: OrderedDict[UUID, Loaded] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, stream: UUID) -> Loaded | None:
        """Return what is known of `stream`."""
        found = self._entries.get(stream)
        if found is not None:
            self._entries.move_to_end(stream)
        return found

    def put(self, entries: Mapping[UUID, Loaded]) -> None:
        """Keep what was loaded, or written, for later."""
        for stream, loaded in entries.items():
            self._entries[stream] = loaded
            self._entries.move_to_end(stream)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget all streams."""
        self._entries.clear()

    def evict(self, streams: Iterable[UUID]) -> None:
        """Forget these streams."""
        for stream in streams:
            self._entries.pop(stream, None)
