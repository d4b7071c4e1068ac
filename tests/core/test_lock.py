"""Which locked version is still wanted, and which one comes by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semantic_version import Version

from aegis.core.lock import Locked, is_local, place_of, ref_of, with_ref
from aegis.core.semver import within
from aegis.core.versions import coming, usual

COMMIT = "3f" * 20
NUMBERS = st.integers(0, 4)
VERSIONS = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}{pre}",
    NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["", "", "", "-rc.1", "-alpha"]),
)  # fmt: skip
RANGES = st.sampled_from(["*", "^1.2", "~1.2.3", ">=1 <3", "1.x", "^0.2", ">=1.2.0-rc.1", "2.1.0"])


def locked(source, version="1.2.3", resolved=COMMIT):
    return Locked(source=source, version=version, resolved=resolved, digest="0" * 64)


@pytest.mark.parametrize(
    ("was", "now", "fits"),
    [
        ("github:acme/orders@^1.2", "github:acme/orders@^1.2", True),
        ("github:acme/orders@^1.2", "github:acme/orders@~1.2.1", True),
        ("github:acme/orders@^1.2", "github:acme/orders@1.2.3", True),
        ("github:acme/orders@^1.2", f"github:acme/orders@{COMMIT}", True),
        ("github:acme/orders@^1.2", "github:acme/orders@^1.3", False),
        ("github:acme/orders@^1.2", "github:acme/orders@^2", False),
        ("github:acme/orders@^1.2", "github:acme/orders@main", False),
        ("github:acme/orders@^1.2", "github:acme/orders", False),
        ("github:acme/orders@^1.2", "github:acme/other@^1.2", False),
        ("github:acme/orders@^1.2", "gitlab:acme/orders@^1.2", False),
        ("github:acme/orders@^1.2#orders", "github:acme/orders@^1.2#shipping", False),
        ("github:acme/orders@main", "github:acme/orders@main", True),
        ("github:acme/orders", "github:acme/orders", True),
        ("https://example.org/orders.zip", "https://example.org/orders.zip", True),
        ("https://example.org/orders.zip", "https://example.org/other.zip", False),
    ],
)
def test_what_is_locked_fits_what_is_wanted_now(was, now, fits):
    assert locked(was).fits(now) is fits


@pytest.mark.parametrize(
    ("address", "place", "ref"),
    [
        ("github:acme/orders@^1.2", "github:acme/orders", "^1.2"),
        ("github:acme/mono/orders@feature/x#orders", "github:acme/mono/orders#orders", "feature/x"),
        ("acme:team/orders@1", "acme:team/orders", "1"),
        ("github:acme/orders", "github:acme/orders", ""),
        ("https://host/@scope/orders.zip", "https://host/@scope/orders.zip", ""),
        ("./orders@home/code.py", "./orders@home/code.py", ""),
        ("file:a@b", "file:a@b", ""),
    ],
)
def test_an_address_has_a_place_and_a_ref(address, place, ref):
    assert (place_of(address), ref_of(address)) == (place, ref)
    if ref:
        assert with_ref(address, ref) == address
        assert place_of(with_ref(address, "2.0.0")) == place


@pytest.mark.parametrize(
    "address", ["orders.py", "./orders", "/srv/orders", "file:x", "cell:orders"]
)
def test_what_is_on_this_machine_is_local(address):
    assert is_local(address)
    assert not is_local(f"github:acme/{address}")


@given(
    offers=st.lists(VERSIONS | st.sampled_from(["latest", "", "1.2", "v1.0.0"]), max_size=12),
    wanted=RANGES,
    serves=st.none() | VERSIONS,
    held=st.none() | VERSIONS,
)
def test_what_comes_by_itself_is_newer_in_range_and_no_surprise(offers, wanted, serves, held):
    found = coming(offers, wanted, serves=serves, held=held)
    if found is None:
        return
    assert found in offers
    assert within(found, wanted)
    assert not Version(found).prerelease
    if serves is not None:
        assert Version(found) > Version(serves)
        assert Version(found).major == Version(serves).major
    if held is not None:
        assert Version(found) > Version(held)


@given(offers=st.lists(VERSIONS, max_size=12), serves=VERSIONS)
def test_nothing_that_should_come_stays_away(offers, serves):
    """With the usual range it is the newest that npm's caret means, pre-releases aside."""
    wanted = usual(serves)
    steady = [Version(one) for one in offers if not Version(one).prerelease]
    newer = [one for one in steady if within(str(one), wanted) and one > Version(serves)]
    assert coming(offers, wanted, serves=serves) == (str(max(newer)) if newer else None)
