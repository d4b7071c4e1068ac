"""Ranges of versions: what is in one, which is the newest, and what is no range at all."""

import pytest

from aegis.core.errors import InvalidError
from aegis.core.semver import is_range, is_version, newer, newest, within

VERSIONS = ["0.3.5", "1.2.0", "1.2.9", "1.3.0-rc.1", "1.10.0", "2.0.0-alpha", "2.0.0", "latest"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("^1.2", "1.10.0"),
        ("~1.2.0", "1.2.9"),
        (">=1.2 <2", "1.10.0"),
        ("1.x", "1.10.0"),
        ("1.2.0", "1.2.0"),
        ("^0.3", "0.3.5"),
        ("*", "2.0.0"),
        ("1.3.0-rc.1", "1.3.0-rc.1"),
        ("^1.3.0-rc.0", "1.10.0"),
        ("^3", None),
    ],
)
def test_the_newest_in_a_range_is_no_pre_release_nor_a_major_that_was_not_asked_for(wanted, found):
    assert newest(VERSIONS, wanted) == found


def test_a_pre_release_comes_before_what_it_leads_to():
    assert newer("2.0.0", "2.0.0-alpha")
    assert newer("2.0.0-beta", "2.0.0-alpha.9")
    assert not newer("1.9.0", "1.10.0")
    assert not newer("1.0.0", "1.0.0")


@pytest.mark.parametrize("text", ["main", "^", "release-1", "1.2.3.4", "latest"])
def test_what_is_no_range_is_refused_by_name(text):
    assert not is_range(text)
    assert not is_version(text)
    with pytest.raises(InvalidError, match="is no range of versions"):
        within("1.0.0", text)


def test_no_text_is_no_range():
    assert not is_range("")
    assert not is_range("  ")
