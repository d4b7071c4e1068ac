"""A field with a default may be added; anything else is named with the number of records."""

import pytest

from aegis.core.deployment import schema_problems
from aegis.testing import load

HEAD = "from decimal import Decimal\nfrom typing import Annotated\nfrom dataclasses import dataclass\nfrom aegis import Meta, Model\n"
OLD = "@dataclass\nclass Place:\n    city: str = ''\nclass Note(Model):\n    text: str\n    stars: int = 0\n    place: Place | None = None\n    twin: Place | None = None\n"


def schema(body):
    return load(HEAD + body, "notes").schemas["notes.Note"]


def problems(change, records=3):
    old, new = change
    assert old in OLD
    return schema_problems("notes.Note", schema(OLD), schema(OLD.replace(old, new)), records)


@pytest.mark.parametrize(
    "change",
    [
        ("stars: int = 0", "stars: int = 0\n    color: str = 'blue'"),
        ("stars: int = 0", "stars: int = 5"),
        ("class Note(Model):", 'class Note(Model):\n    """A note."""'),
        ("class Note(Model):", 'class Note(Model, endpoint="notes"):'),
        ("stars: int = 0", "stars: Annotated[int, Meta(title='Stars')] = 0"),
        ("Place", "Spot"),
    ],
)
def test_what_leaves_stored_records_valid_is_allowed(change):
    old, new = change
    text = OLD.replace(old, new)
    assert schema_problems("notes.Note", schema(OLD), schema(text), 3) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("    stars: int = 0\n", ""), "notes.Note.stars was removed"),
        (("stars: int", "points: int"), "notes.Note.stars was removed"),
        (("stars: int = 0", "stars: str = ''"), "notes.Note.stars has another type"),
        (("stars: int", "stars: Annotated[int, Meta(ge=0)]"), "notes.Note.stars has another type"),
        (
            ("stars: int = 0", "stars: int = 0\n    color: str"),
            "notes.Note.color is new and has no default",
        ),
        (("city: str", "town: str"), "notes.Note.place has another type"),
        (
            ("city: str = ''", "city: str = ''\n    zip: str = ''"),
            "notes.Note.place has another type",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_number_of_records_and_the_ways_on(change, said):
    first, *_ = problems(change)
    assert first.startswith(said)
    assert "3 stored records would not fit" in first
    assert "reset notes" in first
    assert problems(change, records=1)[0].count("1 stored record would") == 1


def test_without_records_everything_fits():
    assert problems(("    stars: int = 0\n", ""), records=0) == []
