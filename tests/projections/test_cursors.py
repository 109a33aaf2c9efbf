"""Cursors: opaque, of one query each, and refused when they are not ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.forms import LAST_POSITION, after, cursor_of
from tenant_domain.refusals import InvalidQuery


@given(st.integers(0, LAST_POSITION))
def test_a_cursor_leads_to_the_key_it_was_made_of(key: int) -> None:
    assert after("history", cursor_of("history", key)) == key


def test_without_a_cursor_a_page_begins_at_the_beginning() -> None:
    assert after("history", None) == 0


def test_a_cursor_of_another_query_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="another query"):
        after("operations", cursor_of("history", 7))


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")))
def test_any_other_text_is_refused_as_the_field_cursor(text: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        after("history", text)
    assert refused.value.extra["errors"][0]["field"] == "cursor"
