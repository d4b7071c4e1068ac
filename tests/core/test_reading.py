"""What is asked becomes typed conditions, or is refused with the name of what is wrong."""

import datetime
from decimal import Decimal

import pytest

from aegis import all_of, any_of, not_
from aegis.core.errors import BadRequestError
from aegis.core.query import Every, Not, Some, Term
from aegis.core.reading import MAX_DEPTH, MAX_TERMS, MAX_TEXT, MAX_VALUES, Reading
from tests.contracts.asked import COLUMNS, Color


def where(*clauses, **fields):
    return Reading(COLUMNS).where(clauses, fields)


def test_fields_and_clauses_become_conditions():
    assert where(any_of(not_(paid=True), all_of(n__ge=1, n__lt=9)), note=None) == (
        Term("note"),
        Some(
            (
                Not(Every((Term("paid", True),))),
                Every((Term("n", 1, "number", op="ge"), Term("n", 9, "number", op="lt"))),
            )
        ),
    )


@pytest.mark.parametrize(
    ("name", "given", "path", "value"),
    [
        ("total__ge", 100, "total", "100"),
        ("total__ge", "9.50", "total", "9.50"),
        ("total__ge", Decimal("1E+1"), "total", "1E+1"),
        ("color__in", [Color.RED, "blue", None], "color", ("red", "blue", None)),
        ("at__lt", "2026-01-01T02:00:00+02:00", "at", "2026-01-01T02:00:00+02:00"),
        ("_created__ge", "2026-01-01", "_created", "2026-01-01T00:00:00.000Z"),
        ("_created__ge", datetime.date(2026, 1, 1), "_created", "2026-01-01T00:00:00.000Z"),
        ("_updated__lt", "2026-01-01T02:00+02:00", "_updated", "2026-01-01T00:00:00.000Z"),
        ("_created__prefix", "2026-01", "_created", "2026-01"),
        ("place__city", "Wien", "place.city", "Wien"),
        ("place__floor__in", (1, 2), "place.floor", (1, 2)),
        ("place__exists", False, "place", False),
        ("tags__contains", "red", "tags", "red"),
        ("marks__contains", 3, "marks", 3),
    ],
)
def test_a_value_is_read_as_its_field_stores_it(name, given, path, value):
    (term,) = where(**{name: given})
    assert (term.path, term.value) == (path, value)


@pytest.mark.parametrize(
    ("asked", "parameter", "said"),
    [
        ({"nam": "x"}, "nam", "did you mean 'name'?"),
        ({"nam__ge": "x"}, "nam__ge", "did you mean 'name'?"),
        ({"name__like": "x"}, "name__like", "no operator 'like'"),
        ({"name__regex": "x"}, "name__regex", "there are: eq, ne"),
        ({"name__has": "x"}, "name__has", "no operator 'has'"),
        ({"n__ge": "many"}, "n__ge", "Expected `int`"),
        ({"n": True}, "n", "Expected `int`"),
        ({"n__ge": None}, "n__ge", "Expected `int`"),
        ({"n__prefix": "1"}, "n__prefix", "is no text"),
        ({"name__prefix": 1}, "name__prefix", "Expected text"),
        ({"name": 3}, "name", "Expected `str`"),
        ({"name__in": "abc"}, "name__in", "Expected a list"),
        ({"n__in": range(MAX_VALUES + 1)}, "n__in", "Expected a list"),
        ({"n__in": [0] * (MAX_VALUES + 1)}, "n__in", f"up to {MAX_VALUES}"),
        ({"name__exists": "yes"}, "name__exists", "true or false"),
        ({"total": Decimal("NaN")}, "total", "finite"),
        ({"ratio": float("inf")}, "ratio", "Expected"),
        ({"color": "green"}, "color", "Invalid enum value"),
        ({"name": "x" * (MAX_TEXT + 1)}, "name", f"up to {MAX_TEXT}"),
        ({"name": "\ud800"}, "name", "Unicode"),
        ({"_created__ge": "soon"}, "_created__ge", "Expected a time"),
        ({"place": "Wien"}, "place", "as in `place__city`"),
        ({"tags": "x"}, "tags", "`tags__contains`"),
        ({"place__city__floor": 1}, "place__city__floor", "no operator 'floor'"),
    ],
    ids=lambda text: str(text)[:30],
)
def test_what_cannot_be_asked_is_refused_by_name(asked, parameter, said):
    with pytest.raises(BadRequestError) as refused:
        where(**asked)
    assert refused.value.fields["parameter"] == parameter
    assert said in f"{refused.value.detail} {refused.value.hint}"


def test_a_query_has_bounds():
    with pytest.raises(BadRequestError, match=f"up to {MAX_TERMS}"):
        where(*(any_of(n=n) for n in range(MAX_TERMS + 1)))
    deep = any_of(n=1)
    for _ in range(MAX_DEPTH - 1):
        deep = not_(deep)
    where(deep)
    with pytest.raises(BadRequestError, match="deep"):
        where(not_(deep))
    with pytest.raises(BadRequestError, match="says nothing"):
        where(any_of())
    with pytest.raises(BadRequestError, match="no condition"):
        where("n = 1")
    with pytest.raises(BadRequestError, match="up to 8"):
        COLUMNS.sort("n," * 9)


def test_a_field_goes_before_an_operator_of_its_name():
    from aegis import Model
    from aegis.core.column import columns_of

    class Odd(Model):
        a__ge: int = 0
        a: int = 0
        sort: str = ""

    reading = Reading(columns_of(Odd))
    assert reading.where((), {"a__ge": 1}) == (Term("a__ge", 1, "number"),)
    assert reading.where((), {"a__ge__ge": 1}) == (Term("a__ge", 1, "number", op="ge"),)
    assert reading.where((), {"sort__eq": "x"}) == (Term("sort", "x"),)


def test_text_values_are_read_for_their_type():
    def read(**fields):
        return Reading(COLUMNS, joint=".").where((), fields, as_text=True)

    assert read(n="3", note="null", **{"paid.ne": "true", "color.in": "red,blue"}) == (
        Term("n", 3, "number"),
        Term("note", None),
        Term("paid", True, op="ne"),
        Term("color", ("red", "blue"), op="in"),
    )
    assert read(name="null", **{"note.in": "a,null", "note.exists": "false"}) == (
        Term("name", "null"),
        Term("note", ("a", None), op="in"),
        Term("note", False, op="exists"),
    )
