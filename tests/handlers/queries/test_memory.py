"""What is kept in memory is exact at the position it names, however hints and reads come."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.queries.memory import Mark, Memory
from handlers.wire.hints import Moved

KEYS: tuple[str, ...] = ("a", "b", "c")
MARK = Mark(1, 0)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.sets(st.sampled_from(KEYS)), st.integers(1, 3)),
        st.tuples(st.just("hint"), st.integers(0, 20)),
        st.tuples(st.just("lose"), st.integers(0, 20)),
        st.tuples(st.just("tell"), st.sets(st.sampled_from(KEYS)), st.integers(1, 3)),
        st.tuples(st.just("fetch"), st.sampled_from(KEYS)),
        st.tuples(st.just("read"), st.sampled_from(KEYS)),
        st.tuples(st.just("arrive"), st.integers(0, 20)),
        st.tuples(st.just("swap")),
        st.tuples(st.just("ask"), st.sampled_from(KEYS)),
    ),
    max_size=80,
)


class World:
    """A read model that moves, with hints and reads that are on their way for any time and in any order."""

    def __init__(self) -> None:
        self.memory = Memory(capacity=2)
        self.epoch = 0
        self.truth: list[dict[str, tuple[int, int]]] = [dict.fromkeys(KEYS, (0, 0))]
        """The rows at each position: in which epoch, and at which position, each last changed."""
        self.hints: list[Moved] = []
        self.reads: list[tuple[str, Mark, int, bytes]] = []
        self.tell(set(), 1)

    def do(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])

    def commit(self, changed: set[str], positions: int) -> None:
        since = len(self.truth) - 1
        rows = self.truth[-1] | dict.fromkeys(changed, (self.epoch, since + positions))
        self.truth += [self.truth[-1]] * (positions - 1) + [rows]
        self.hints.append(Moved("tenants", 1, self.epoch, since, since + positions, sorted(changed)))

    def tell(self, changed: set[str], positions: int) -> None:
        self.commit(changed, positions)
        self.memory.heard(self.hints[-1])

    def fetch(self, key: str) -> None:
        self.read(key)
        self.memory.keep(*self.reads.pop())

    def swap(self) -> None:
        """Rows change without a position: another generation, or a parked stream that was mended."""
        self.epoch += 1
        self.truth[-1] = {key: (self.epoch, len(self.truth) - 1) for key in KEYS}
        self.hints.append(Moved("tenants", 1, self.epoch, len(self.truth) - 1, len(self.truth) - 1, []))

    def hint(self, which: int) -> None:
        if self.hints:
            self.memory.heard(self.hints[which % len(self.hints)])  # it may come again

    def lose(self, which: int) -> None:
        if self.hints:
            self.hints.pop(which % len(self.hints))

    def read(self, key: str) -> None:
        position = len(self.truth) - 1
        body = json.dumps(self.truth[-1][key]).encode()
        self.reads.append((key, Mark(1, self.epoch), position, body))

    def arrive(self, which: int) -> None:
        if self.reads:
            self.memory.keep(*self.reads.pop(which % len(self.reads)))

    def ask(self, key: str) -> None:
        found = self.memory.get(key)
        if found is not None:
            position, body = found
            epoch, _ = json.loads(body)
            if epoch == self.epoch:
                assert body == json.dumps(self.truth[position][key]).encode()


@settings(max_examples=1000, deadline=None)
@given(steps)
def test_what_is_given_is_the_row_as_it_was_at_the_position_given(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for step in steps:
        world.do(step)
        for key in KEYS:
            world.ask(key)


def kept(**more: Any) -> Memory:
    """A memory that has heard of position 5 and holds what was read of `a` there."""
    memory = Memory(**more)
    memory.heard(Moved("tenants", 1, 0, 5, 5, []))
    memory.keep("a", MARK, 5, b"{}")
    return memory


def test_a_row_that_no_hint_named_is_exact_at_the_last_ones_position() -> None:
    memory = kept()
    memory.heard(Moved("tenants", 1, 0, 5, 9, ["b"]))
    assert memory.get("a") == (9, b"{}")


def test_a_row_that_changed_is_read_again() -> None:
    memory = kept()
    memory.heard(Moved("tenants", 1, 0, 5, 9, ["a"]))
    assert memory.get("a") is None
    memory.keep("a", MARK, 5, b"{}")  # a read from before
    assert memory.get("a") is None


def test_after_a_lost_hint_nothing_is_known() -> None:
    memory = kept()
    memory.heard(Moved("tenants", 1, 0, 7, 9, []))
    assert memory.get("a") is None


def test_after_too_much_change_nothing_is_known() -> None:
    memory = kept()
    memory.heard(Moved("tenants", 1, 0, 5, 9, None))
    assert memory.get("a") is None


def test_rows_of_another_generation_or_epoch_are_not_given() -> None:
    for mark in (Mark(2, 0), Mark(1, 1)):
        memory = kept()
        memory.heard(Moved("tenants", *mark, 5, 5, []))
        assert memory.get("a") is None
        memory.keep("a", MARK, 5, b"{}")
        assert memory.get("a") is None


def test_without_hints_nothing_is_given() -> None:
    now = 0.0
    memory = kept(fresh=0.3, clock=lambda: now)
    assert memory.get("a") == (5, b"{}")
    now = 0.4
    assert memory.get("a") is None
    memory.heard(Moved("tenants", 1, 0, 5, 5, []))
    assert memory.get("a") == (5, b"{}")


def test_an_old_hint_keeps_nothing_fresh() -> None:
    now = 0.0
    memory = kept(fresh=0.3, clock=lambda: now)
    now = 0.4
    memory.heard(Moved("tenants", 1, 0, 2, 3, []))
    assert memory.get("a") is None


def test_nothing_older_is_given_than_was_shown_before() -> None:
    memory = kept()
    memory.showed(6)
    assert memory.get("a") is None
    memory.heard(Moved("tenants", 1, 0, 5, 6, []))
    assert memory.get("a") == (6, b"{}")


def test_memory_is_bounded() -> None:
    memory = kept(capacity=10, largest=100)
    memory.keep("large", MARK, 5, b"x" * 101)
    assert memory.get("large") is None
    for n in range(100):
        memory.keep(str(n), MARK, 5, b"{}")
    assert sum(memory.get(str(n)) is not None for n in range(100)) <= 10
    assert memory.get("99") is not None


def test_what_is_being_written_is_not_given_nor_kept_for_a_while() -> None:
    now = 0.0
    memory = kept(unsettled=2.0, fresh=60.0, clock=lambda: now)
    memory.keep("b", MARK, 5, b"{}")
    memory.written(["a", "c"])
    assert (memory.get("a"), memory.get("b")) == (None, (5, b"{}"))
    memory.keep("a", MARK, 5, b"{}")  # read before the commit, or after it: nobody knows
    assert memory.get("a") is None
    now = 2.1
    memory.keep("a", MARK, 5, b"{}")
    assert memory.get("a") == (5, b"{}")


def test_a_position_beyond_what_is_kept_is_not_given() -> None:
    assert kept().get("a", 5) == (5, b"{}")
    assert kept().get("a", 6) is None
