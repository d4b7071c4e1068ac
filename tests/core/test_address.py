"""Addresses: one grammar, read into a value and written as it is read."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.address import FORGES, Forge, forge_of, parse
from aegis.core.errors import AegisError, InvalidError

SHA = "ab" * 32
COMMIT = "c0ffee" + "0" * 34

FORMS = [
    ("orders.py", {"kind": "file", "place": "orders.py"}),
    ("./shop/book.ipynb#orders", {"place": "./shop/book.ipynb", "component": "orders"}),
    ("~/shop", {"kind": "file", "place": "~/shop"}),
    ("/srv/c#/orders.py", {"place": "/srv/c#/orders.py", "component": ""}),
    ("file:github:x", {"kind": "file", "place": "github:x"}),
    (f"shop.zip#orders&sha256={SHA}", {"component": "orders", "sha256": SHA}),
    ("cell:orders", {"kind": "cell", "place": "orders"}),
    ("https://shop.example/a/orders.whl", {"kind": "web", "scheme": "https"}),
    (f"https://shop.example:8443/a/#sha256={SHA}", {"sha256": SHA}),
    ("http://127.0.0.1:8099/orders.py", {"kind": "web", "scheme": "http"}),
    ("http://[::1]:80/x.zip", {"kind": "web"}),
    ("github:acme/orders", {"kind": "repository", "place": "acme/orders", "path": "", "ref": ""}),
    ("github:acme/mono/parts/orders@^1.2", {"path": "parts/orders", "ref": "^1.2"}),
    ("github:acme/orders@feature/x", {"ref": "feature/x", "range": None}),
    (f"github:acme/orders@{COMMIT}#orders", {"ref": COMMIT, "range": None, "is_commit": True}),
    ("github:acme/mono@orders@1.2.0", {"ref": "orders@1.2.0", "range": None}),
    ("github:acme/mono@>=1.2 <2", {"range": ">=1.2 <2"}),
    ("gitlab:a/b/c//x/y@main", {"place": "a/b/c", "path": "x/y", "ref": "main"}),
    ("gitlab:a/b", {"place": "a/b", "path": ""}),
    ("codeberg:a/b/c.py", {"path": "c.py"}),
]


@pytest.mark.parametrize(("text", "parts"), FORMS)
def test_an_address_is_read_and_written_as_it_is(text, parts):
    address = parse(text)
    assert {name: getattr(address, name) for name in parts} == parts
    assert str(address) == text


def test_an_address_is_written_in_one_way():
    assert str(parse("file:orders.py")) == "file:orders.py"
    assert str(parse(f"x.zip#sha256={SHA}&orders")) == f"x.zip#orders&sha256={SHA}"
    assert str(parse("github:a/b/c/")) == "github:a/b/c"
    address = parse("github:acme/orders/x@^1.2#orders")
    assert address.source == "github:acme/orders/x"
    assert (address.folder, address.entry) == ("x", "")
    address = parse("github:acme/orders/x/y.py")
    assert (address.folder, address.entry) == ("x", "y.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an address is missing"),
        ("x" * 3000, "is no address"),
        ("a\0b.py", "is no address"),
        ("#orders", "says no path"),
        ("x.py#A B", "chooses nothing"),
        (f"x.py#sha256={SHA[1:]}", "64 hex digits"),
        ("x.py#a&b", "'b' chooses nothing"),
        ("cell:", "names no component"),
        ("cell:a#b", "names no component"),
        ("githup:a/b", "did you mean 'github'?"),
        ("work:a/b", r"say [sources.work] in aegis.toml"),
        ("github:acme", "OWNER/REPO[/PATH][@REF]"),
        ("gitlab:acme", "GROUP/PROJECT[//PATH][@REF]"),
        ("github:../b", "names no repository"),
        ("github:a/..", "names no repository"),
        ("github:a/b?x", "a query"),
        ("github:a/b/../../etc", "no path inside a repository"),
        ("github:a/b/c//d", "no path inside a repository"),
        ("github:a/b@", "says no ref"),
        ("github:a/b@-x", "neither a ref nor a range"),
        ("github:a/b@a..b", "neither a ref nor a range"),
        ("github:a/b@a b", "neither a ref nor a range"),
        ("github:a/b@../x", "neither a ref nor a range"),
        ("https://shop.example/orders", "ends in .py, .wasm, .wat, .ipynb, .whl, .zip, or in /"),
        ("https:/shop.example/x.py", "write it as https://host/path"),
        ("https://[/x.py", "is no URL"),
        ("https://h:port/x.py", "is no URL"),
        ("https://h/../x.py", "has . or .. in its path"),
        ("http://shop.example/x.py", "over a network it is https://"),
        ("http://127.0.0.1.evil.example/x.py", "over a network it is https://"),
        ("http://0/x.py", "over a network it is https://"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(text, said):
    with pytest.raises(InvalidError) as refused:
        parse(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hush@shop.example/x.py",
        "https://hush@shop.example/x",
        "https://shop.example/x.py?key=hush",
        "https://hush@[/x.py",
        "https://h:x/y?hush#A B",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_told(text):
    with pytest.raises(InvalidError) as refused:
        parse(text)
    assert "hush" not in str(refused.value)


@given(st.one_of(st.text(), st.text(string.printable), st.from_regex(r"[a-z]{2,8}:[!-~]{0,40}")))
def test_any_text_is_an_address_that_is_read_again_as_itself_or_an_error(text):
    try:
        address = parse(text)
    except AegisError:
        return
    assert parse(str(address)) == address


def test_a_name_of_ones_own_begins_addresses():
    work = forge_of("work", {"kind": "gitlab", "api": "https://git.company.example/api/v4/"})
    address = parse("work:group/project@^1.2", {**FORGES, "work": work})
    assert (address.scheme, address.place, address.range) == ("work", "group/project", "^1.2")
    assert work == Forge(kind="gitlab", api="https://git.company.example/api/v4")
    assert "hush" not in repr(forge_of("github", {"token": "hush"}, FORGES["github"]))


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("work", {"api": "https://x.example"}, "kind is one of github, gitlab, gitea"),
        ("work", {"kind": "git"}, "kind is one of github, gitlab, gitea"),
        ("work", {"kind": "gitlab"}, "api is the address of its API"),
        ("work", {"kind": "gitlab", "api": "http://git.example"}, "over a network it is https"),
        ("work", {"kind": "gitlab", "api": "https://x.example", "tokn": "x"}, "did you mean"),
        ("work", {"kind": "gitlab", "api": "https://x.example", "token": 3}, "token is a text"),
        ("file", {"kind": "gitlab", "api": "https://x.example"}, "no name for a source"),
        ("W", {"kind": "gitlab", "api": "https://x.example"}, "no name for a source"),
    ],
)
def test_what_is_wrong_with_a_source_of_ones_own_is_told(name, said, told):
    with pytest.raises(InvalidError, match=r"\[sources\.") as refused:
        forge_of(name, said)
    assert told in str(refused.value)
