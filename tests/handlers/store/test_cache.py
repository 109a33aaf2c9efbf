"""The cache is bounded, keeps what is used, and forgets what it is told to."""

from uuid import UUID

from handlers.store.cache import StreamCache
from handlers.store.event_store import Loaded

ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)


def test_the_least_recently_used_goes_first():
    cache = StreamCache(2)
    cache.put({ONE: Loaded("one", 1), TWO: Loaded("two", 1)})
    assert cache.get(ONE) == Loaded("one", 1)
    cache.put({THREE: Loaded("three", 1)})
    assert (cache.get(TWO), len(cache)) == (None, 2)
    assert cache.get(ONE) is not None


def test_what_was_written_replaces_what_was_loaded_and_is_used_last():
    cache = StreamCache(2)
    cache.put({ONE: Loaded("one", 1), TWO: Loaded("two", 1)})
    cache.put({ONE: Loaded("changed", 2)})
    cache.put({THREE: Loaded("three", 1)})
    assert cache.get(ONE) == Loaded("changed", 2)
    assert cache.get(TWO) is None


def test_evicted_streams_are_gone_whether_they_were_there_or_not():
    cache = StreamCache(2)
    cache.put({ONE: Loaded(None, 0)})
    assert cache.get(ONE) == Loaded(None, 0)
    cache.evict([ONE, TWO])
    assert (cache.get(ONE), len(cache)) == (None, 0)
