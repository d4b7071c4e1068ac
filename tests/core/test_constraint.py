"""Bounds hold at any depth, for every kind of number, and never for what is none."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis import Meta
from aegis.core.constraint import check_of
from aegis.core.errors import InvalidError

T = TypeVar("T")
Positive = Annotated[int, Meta(gt=0)]
Money = Annotated[Decimal, Meta(ge=0, le=Decimal("99999.99"), multiple_of=Decimal("0.01"))]


class Line(msgspec.Struct):
    price: Money = Decimal(0)
    qty: Positive = 1


class Tree(msgspec.Struct):
    size: Positive = 1
    children: "list[Tree]" = []
    parent: "Tree | None" = None


class Leaf(msgspec.Struct):
    """Recursive, and without any bound."""

    next: "Leaf | None" = None


class Box(msgspec.Struct, Generic[T]):
    held: T


@dataclass
class Address:
    floor: Annotated[int, Meta(ge=-3, lt=200)]


class Point(NamedTuple):
    x: Positive
    y: int


class Opening(TypedDict, total=False):
    hour: Annotated[int, Meta(ge=0, le=23)]


@pytest.mark.parametrize(
    ("kind", "good", "bad", "path"),
    [
        (Money, Decimal("99999.99"), Decimal(100000), "$"),
        (Money, Decimal(0), Decimal("-0.01"), "$"),
        (Money, Decimal("1.10"), Decimal("1.101"), "$"),
        (Positive, 1, 0, "$"),
        (Annotated[float, Meta(lt=1)], 0.5, 1.0, "$"),
        (Annotated[float, Meta(ge=0)], 0.0, float("nan"), "$"),
        (Annotated[int, Meta(multiple_of=5)], 10, 11, "$"),
        (Annotated[float, Meta(multiple_of=Decimal("0.5"))], 1.5, 1.6, "$"),
        (Line, Line(), Line(qty=0), "$.qty"),
        (list[Line], [Line()], [Line(), Line(price=Decimal(-1))], "$[1].price"),
        (dict[str, Positive], {"a": 1}, {"a": 1, "b": 0}, "$[...]"),
        (dict[Positive, str], {1: "a"}, {0: "a"}, "key in $"),
        (tuple[Positive, ...], (1, 2), (1, 0), "$[1]"),
        (tuple[str, Positive], ("a", 1), ("a", 0), "$[1]"),
        (set[Positive], {1}, {-1}, "$[0]"),
        (Point, Point(1, 0), Point(0, 0), "$[0]"),
        (Opening, {"hour": 8}, {"hour": 24}, "$.hour"),
        (Address, Address(199), Address(200), "$.floor"),
        (Positive | None, None, -1, "$"),
        (Annotated[int, Meta(ge=5)] | bool, True, 4, "$"),
        (Annotated[int | None, Meta(ge=5)], None, 4, "$"),
        (Line | None, None, Line(qty=-1), "$.qty"),
        (Address | str, "street", Address(-4), "$.floor"),
        (
            Tree,
            Tree(children=[Tree()]),
            Tree(children=[Tree(parent=Tree(size=0))]),
            "$.children[0].parent.size",
        ),
        (Box[Positive], Box(1), Box(0), "$.held"),
        (Box[Positive] | None, None, Box(0), "$.held"),
        (Decimal, Decimal("-1e10"), Decimal("NaN"), "$"),
        (Decimal | None, None, Decimal("sNaN"), "$"),
        (Money, Decimal(5), Decimal("Infinity"), "$"),
        (Money, Decimal(5), Decimal("NaN"), "$"),
        (Annotated[Decimal, Meta(multiple_of=Decimal("0.01"))], Decimal(1), Decimal("1e-40"), "$"),
    ],
)
def test_a_bound_is_checked_and_names_the_place(kind, good, bad, path):
    check = check_of(kind)
    check(good)
    with pytest.raises(InvalidError, match=r"^Expected") as refused:
        check(bad)
    assert str(refused.value).endswith(f"- at `{path}`")
    assert refused.value.fields == {"pointer": path}


def test_what_has_no_bounds_has_no_check():
    for kind in (int, str, list[int], Leaf, dict[str, int], tuple[int, str], int | None):
        check = check_of(kind)
        assert check is None or check(Leaf(Leaf())) is None


@pytest.mark.parametrize("kind", [str, list[int], bool, bytes])
def test_a_bound_on_what_is_no_number_is_an_error_not_a_silence(kind):
    with pytest.raises(TypeError, match=r"Meta\(ge\) bounds numbers"):
        check_of(Annotated[kind, Meta(ge=1)])


def test_lengths_and_patterns_are_msgspec_s_own():
    decode = msgspec.json.Decoder(Annotated[str, Meta(min_length=2, pattern="^a")]).decode
    assert decode(b'"ab"') == "ab"
    for bad in (b'"a"', b'"ba"'):
        with pytest.raises(msgspec.ValidationError):
            decode(bad)


def test_bounds_show_in_the_schema():
    schema = msgspec.json.schema(Money)
    assert (schema["minimum"], schema["maximum"], schema["multipleOf"]) == (0, 99999.99, 0.01)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-10, max_value=10**6))
def test_money_is_in_bounds_exactly_when_it_is(amount):
    inside = 0 <= amount <= Decimal("99999.99")
    try:
        check_of(Money)(amount)
    except InvalidError:
        assert not inside
    else:
        assert inside
