"""What a pattern of addresses means: whole words, one after the other, and nothing that leads out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.address import Forge, parse
from aegis.core.errors import InvalidError
from aegis.core.signature import key_bytes, key_text
from aegis.core.trust import (
    Trusted,
    check_pattern,
    closest_pattern,
    matches,
    remembered_as,
    source_of,
)

FORGES = {
    "github": Forge(kind="github", api="https://api.github.com"),
    "work": Forge(kind="gitlab", api="https://git.example.com/api/v4"),
}


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ("github:acme", "github:acme/orders"),
        ("github:acme/orders", "github:acme/orders"),
        ("github:acme/orders/", "github:acme/orders"),
        ("github:acme/*", "github:acme/orders/sub"),
        ("github:*", "github:acme/orders"),
        ("work:group/sub/project", "work:group/sub/project//path"),
        ("https://example.com/c/", "https://example.com/c/orders.zip"),
        ("https://example.com/c/orders.zip", "https://example.com/c/orders.zip"),
        ("https://example.com/*", "https://example.com/c/orders/"),
        ("https://example.com", "https://example.com/c"),
        ("http://127.0.0.1:*/", "http://127.0.0.1:8123/orders/"),
        ("http://[::1]:*/", "http://[::1]:8123/orders/"),
    ],
)
def test_what_a_pattern_means(pattern, source):
    check_pattern(pattern)
    assert matches(pattern, source)


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ("github:acme", "github:acme-evil/orders"),
        ("github:acme/*", "github:acme"),
        ("github:acme/*", "github:acme-evil/orders"),
        ("github:acme/orders", "github:acme/order"),
        ("github:acme/orders", "github:acme"),
        ("github:acme/*", "gitlab:acme/orders"),
        ("github:acme/*", "github:Acme/orders"),
        ("github:acme/*", "github:acme/../evil/orders"),
        ("https://example.com/c/", "https://example.com/c/../evil.zip"),
        ("https://example.com/c/", "https://example.com/c/%2e%2e/evil.zip"),
        ("https://example.com/c/", "https://example.com/c/..%2fevil.zip"),
        ("https://example.com/c/", "https://example.com/c/%5c../evil.zip"),
        ("https://example.com/c/", "https://example.com/c%2fx.zip"),
        ("https://example.com/c/", "https://example.com.evil/c/x.zip"),
        ("https://example.com/c/", "https://example.com@evil.example/c/x.zip"),
        ("https://example.com/c/", "http://example.com/c/x.zip"),
        ("https://example.com/c/", "https://example.com:8443/c/x.zip"),
        ("http://127.0.0.1:*/", "http://127.0.0.1.evil.example:80/x"),
        ("http://127.0.0.1:*/", "http://127.0.0.1:80@evil.example/x"),
        ("http://127.0.0.1:*/", "http://127.0.0.1:٣/x"),
        ("http://127.0.0.1:*/", "http://127.0.0.1/x"),
    ],
)
def test_what_a_pattern_does_not_mean(pattern, source):
    check_pattern(pattern)
    assert not matches(pattern, source)


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "*", "github", "github:", ":acme", "https:", "https://", "https://*", "https:///c"),
        *("https://*/c", "https://*.example.com/", "github:*/orders", "github:acme/*/x"),
        *("github:ac*", "github:acme/orders@1.0.0", "github:acme#orders", "github:acme/./x"),
        *("https://example.com/../x", "https://example.com/%2e%2e/", "github:a b/c"),
        *("http://x:*8/", "http://*:*/", "github:acme\n", "x" * 3000, "github:acmé"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(InvalidError):
        check_pattern(pattern)


def test_the_most_specific_pattern_counts():
    patterns = ["github:*", "github:acme", "github:acme/*", "github:acme/orders"]
    assert closest_pattern(patterns, "github:acme/orders/sub") == "github:acme/orders"
    assert closest_pattern(patterns, "github:acme/shipping") == "github:acme"
    assert closest_pattern(patterns[::-1], "github:other/x") == "github:*"
    assert closest_pattern(patterns, "gitlab:acme/orders") is None
    ports = ["http://h:*/x", "http://h:80/x"]
    assert closest_pattern(ports, "http://h:80/x") == "http://h:80/x"
    assert closest_pattern(ports, "http://h:81/x") == "http://h:*/x"


WORDS = st.text("ab-.*/:@#% é", min_size=1, max_size=12)


@given(WORDS, WORDS)
def test_nothing_but_whole_words_matches(pattern, source):
    try:
        check_pattern(pattern)
    except InvalidError:
        return  # nobody can pin it
    if not matches(pattern, source) or "*" in pattern:
        return
    plain, found = pattern.rstrip("/"), source.rstrip("/")
    assert found == plain or found.startswith(f"{plain}/")


@pytest.mark.parametrize(
    "text",
    [
        "github:acme/orders",
        "github:acme/orders/sub@^1.2",
        "github:acme/orders@feature/x#orders",
        f"github:acme/orders@main#sha256={'0' * 64}",
        "work:group/sub/project//path@1.x",
        "https://example.com/c/orders-1.0.0.whl#orders",
        "https://example.com/c/a@b/orders.zip",
        "https://example.com/c/",
    ],
)
def test_a_source_is_what_the_grammar_of_addresses_says_it_is(text):
    assert source_of(text) == parse(text, FORGES).source.rstrip("/")


def test_spelling_does_not_count_for_what_is_remembered():
    assert len({remembered_as(s) for s in ("github:a/b", "github:A/B/", "github:a/%62")}) == 1


def test_pins_of_both_places_count():
    one = Trusted(pins={"github:a": ("x", "y")}, unsigned=("github:b",))
    other = Trusted(pins={"github:a": ("y", "z"), "github:c": ("x",)})
    assert one.joined(other) == Trusted(
        pins={"github:a": ("x", "y", "z"), "github:c": ("x",)}, unsigned=("github:b",)
    )


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_written_in_one_way(key):
    text = key_text(key)
    assert key_bytes(text) == key
    for other in (text + "=", text.upper(), f" {text}", text[:-1], text + "A"):
        if other != text:
            with pytest.raises(InvalidError):
                key_bytes(other)


def test_another_last_letter_that_means_the_same_bytes_is_refused():
    text = key_text(bytes(32))
    assert text.endswith("A")
    with pytest.raises(InvalidError):
        key_bytes(text[:-1] + "B")
