"""A cursor comes back as it was given, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.errors import BadRequestError
from aegis.core.query import decode_cursor, encode_cursor

SCALAR = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)


@given(st.lists(SCALAR, min_size=1, max_size=4).map(tuple))
def test_a_cursor_gives_back_its_position(position):
    cursor = encode_cursor(position)
    assert decode_cursor(cursor, len(position)) == position
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?#% ")
    with pytest.raises(BadRequestError, match="another query"):
        decode_cursor(cursor, len(position) + 1)


@given(st.text(max_size=40))
def test_no_text_breaks_the_decoder(text):
    try:
        position = decode_cursor(text, 1)
    except BadRequestError:
        return
    assert len(position) == 1


@pytest.mark.parametrize("cursor", ["", "!!", "e30", "W1tdXQ", "é", "W3t9XQ"])
def test_what_is_no_cursor_is_a_bad_request(cursor):
    with pytest.raises(BadRequestError):
        decode_cursor(cursor, 1)
