"""Event names, globs, and what an author may say of an event."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis import event
from aegis.core.errors import InvalidError
from aegis.core.event import is_glob, matches


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("order.created", "order.created", True),
        ("order.created", "order.created.twice", False),
        ("order.*", "order.created", True),
        ("order.*", "order.line.added", True),
        ("order.*", "orders.created", False),
        ("*.created", "order.created", True),
        ("*", "anything.at.all", True),
        ("order.*ed", "order.created\n", False),
        ("order.c*", "orderXcreated", False),
    ],
)
def test_a_pattern_means_the_events_it_spells(pattern, name, meant):
    assert matches(pattern, name) is meant


WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(st.lists(WORD, min_size=2, max_size=4))
def test_every_event_is_meant_by_its_own_name_and_by_its_first_word_and_a_star(words):
    name = ".".join(words)
    assert matches(name, name)
    assert matches(f"{words[0]}.*", name)
    assert not is_glob(name)
    assert event(name).type == name


@pytest.mark.parametrize(
    "name", ["order", "Order.created", "order.", ".created", "order..x", "a b.c", ""]
)
def test_a_name_that_is_no_noun_and_verb_is_refused(name):
    with pytest.raises(InvalidError, match=r"noun\.verbed"):
        event(name)


def test_the_data_of_an_event_is_json_and_money_stays_exact():
    said = event("item.sold", "i-1", price=Decimal("10.10"), tags={"a"}, name="x")
    assert said.data == {"price": "10.10", "tags": ["a"], "name": "x"}
    assert said.subject == "i-1"


def test_data_that_json_cannot_hold_is_refused_when_it_is_said():
    with pytest.raises(InvalidError, match=r"the data of 'item.sold' cannot be told"):
        event("item.sold", thing=object())


def test_a_subject_that_is_no_text_is_refused_by_name():
    with pytest.raises(InvalidError, match=r"the subject of 'item.sold' is int: it is a text"):
        event("item.sold", 7)  # type: ignore[arg-type]  # that is the mistake
