"""An id is one token of a subject, a key or a path, and is read back from it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.wire.id_tokens import id_of_token, key_token

STOCK = re.compile(r"[-/_=a-zA-Z0-9]{1,255}").fullmatch
IDS = st.text("abcXYZ019._:@|+-", min_size=1, max_size=128)


@pytest.mark.parametrize(
    ("id", "token"),
    [
        ("u-4711", "u-4711"),
        ("0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10", "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"),
        ("auth0|123", "=YXV0aDB8MTIz"),
        ("ada+1@acme.example", "=YWRhKzFAYWNtZS5leGFtcGxl"),
    ],
)
def test_an_id_that_every_client_takes_stands_as_it_is(id: str, token: str) -> None:
    assert (key_token(id), id_of_token(token)) == (token, id)


@given(IDS, IDS)
def test_no_id_stands_for_another(one: str, other: str) -> None:
    assert STOCK(key_token(one))
    assert id_of_token(key_token(one)) == one
    assert (key_token(one) == key_token(other)) == (one == other)


@pytest.mark.parametrize("token", ["", "a.b", "a b", "*"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        id_of_token(token)
