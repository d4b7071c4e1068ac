"""A pattern of a guest that could keep the host busy is refused; those that people write are not."""

from __future__ import annotations

import pytest

from aegis.adapters.components.wasm.pattern import slow


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        ("^[A-Z]{2}[0-9]{4}$", None),
        (r"^\d+$", None),
        (r"^(?:order|invoice)-\d+$", None),
        (r"^[^@]+@[^@]+\.[a-z]{2,}$", 200),
        (r"^(?P<year>\d{4})-(\d\d)-(\d\d)$", None),
        ("^(ab)+$", None),
        ("^#[0-9a-f]{6}([0-9a-f]{2})?$", 9),
        ("^[a-z]+(-[a-z]{2})?$", None),
        ("abc", None),
        (r"^\(\d+\)\?$", None),
        ("^[(+*]*$", None),
        ("^(GET|PUT|POST|PATCH|DELETE)$", None),
    ],
)
def test_what_people_write_is_taken(pattern: str, longest: int | None) -> None:
    assert slow(pattern, longest) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "^((a+))+$",
        "^(a|aa)+$",
        "^(a|a)*$",
        "^(a?){50}a{50}$",
        "^" + "a?" * 40 + "a" * 40,
        "^" + "(a|a)" * 40 + "$",
        ".*.*x",
        ".*x",
        "a|.*x",
        "^a|b+c",
        r"^(a+)\1$",
        "^(?=a+)+b",
        "(?i)^a+$",
        "^(?:a+)*?b",
        "^a*a*a*b",
        "^(x{1,}){9}y",
    ],
)
def test_what_could_take_long_is_not(pattern: str) -> None:
    assert slow(pattern, None) is not None
