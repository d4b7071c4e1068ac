"""A short text of WebAssembly stands for a whole module, and says by its lines what is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from aegis.bootstrap import build_host
from aegis.configuration import read
from aegis.core.component import Source
from aegis.core.errors import ComponentError
from aegis.core.wat import ADDED, bare, functions, is_whole, whole
from tests.sources import book
from tests.wasm.parcels import PARCELS, parcels


def refused(text: str, version: str = "1.0.0") -> ComponentError:
    with pytest.raises(ComponentError) as caught:
        whole(text, "parcels", version)
    return caught.value


# --- what a text is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("(module)", True),
        ("\n ;; a note\n (; (module ;) ( module $x)", True),
        ("(component)", True),
        ("", False),
        (";; (module)", False),
        ('(func $module) "(module"', False),
        ("(modules)", False),
    ],
)
def test_a_whole_module_is_known(text: str, is_it: bool) -> None:
    assert is_whole(text) is is_it


def test_a_whole_module_stays_as_it_is() -> None:
    text = "\n;; not = a description\n(module)"
    assert whole(text, "parcels", "1.0.0") == text


def test_lines_stay_where_they_are_and_names_are_found_by_them() -> None:
    made = whole(PARCELS, "parcels", "1.0.0")
    assert made.split("\n")[1 : PARCELS.count("\n")] == PARCELS.split("\n")[1:-1]
    found = functions(made)
    assert found == {"Parcel.weigh": 15, "price": 19, "Parcel.again": 22}
    assert ADDED in made
    assert "(func $number" in made
    assert "(func $string" not in made  # nothing calls it


@given(st.lists(st.sampled_from(["(;", ";)", ";;", '"', "\\", "\n", "(", ")", "func $a", " "])))
def test_what_is_left_of_any_text_is_as_long_and_has_its_lines(parts: list[str]) -> None:
    text = "".join(parts)
    left = bare(text)
    assert len(left) == len(text)
    assert [n for n, sign in enumerate(left) if sign == "\n"] == [
        n for n, sign in enumerate(text) if sign == "\n"
    ]


def test_comments_and_strings_name_no_function() -> None:
    text = (
        '(func $a) ;; (func $b)\n(; (func $c) (; (func $d) ;) (func $e) ;)\n"(func $f)" (func $g)'
    )
    assert functions(text) == {"a": 1, "g": 3}


SPOILS = [
    "",
    "(",
    ")",
    '"',
    ";;",
    "(;",
    ";)",
    "\n",
    "\ud800",
    "\0",
    "[",
    "= {",
    "'",
    "\\",
    "é",
    ";; [",
]

# --- what is wrong with it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (";; fields.grams = {", ";; fields.grams = {{", 5, "no TOML"),
        (";; [texts]", ";; [texts]\n;; a note", 11, "no TOML"),
        ("endpoint", "endpont", 4, "unknown field `endpont`"),
        (
            "(param $input i64) (result i64)\n  (call $join",
            "(result i64)\n  (call $join",
            15,
            "takes",
        ),
        ("$Parcel.again", "$Parcel.agin", 0, "has no function $Parcel.again (did you mean"),
        ('grams = "grams"', "grams = 3", 0, "texts.grams is no text: 3"),
        ('grams = "grams"', '"gr ams" = "grams"', 0, "texts.gr ams is no name"),
        (";; [texts]", ";; [[texts]]", 0, "texts is a table"),
        (";; [models.Parcel]", ';; name = "boxes"\n;; [models.Parcel]', 0, "says 'boxes'"),
        (";; [models.Parcel]", ';; version = "2.0.0"\n;; [models.Parcel]', 0, "says '2.0.0'"),
        (";; [models.Parcel]", ";; x = " + "[" * 100_000 + "\n;; [models.Parcel]", 0, "no TOML"),
    ],
)
def test_a_mistake_is_told_by_its_line(old: str, new: str, line: int, said: str) -> None:
    assert old in PARCELS
    text = PARCELS.replace(old, new, 1)
    error = refused(text)
    assert error.fields.get("line", 0) == line
    assert said in str(error)


@given(st.data())
def test_no_text_does_harm(data: st.DataObject) -> None:
    text = PARCELS
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 20))
        text = text[:at] + data.draw(st.sampled_from(SPOILS)) + text[at + cut :]
    with suppress(ComponentError):
        functions(whole(text, "parcels", "1.0.0"))


@pytest.mark.parametrize(
    "text",
    [
        '"' + '\\"' * 500_000,
        "(" * 500_000,
        "(;" * 500_000,
        "(func $a\n" * 200_000,
        "(export " * 200_000,
        ";; x = 1\n" * 200_000,
        ";; models.A.fields" + ".a" * 100_000 + " = 1",
        ";; models.A.fields.a = " + "9" * 4000,
        ";; x = " + "{a=" * 60_000,
    ],
    ids=[*"abcdefghi"],
)
def test_large_texts_are_refused_or_taken_at_once(text: str) -> None:
    with suppress(ComponentError):
        functions(whole(text, "parcels", "1.0.0"))


def test_a_description_may_say_what_its_first_line_says() -> None:
    said = ';; name = "parcels"\n;; version = "1.0.0"\n;; [models'
    assert whole(PARCELS.replace(";; [models", said), "parcels", "1.0.0")


def test_a_mistake_in_a_body_is_told_by_the_line_of_its_function() -> None:
    host = build_host(read(data=None))
    text = whole(PARCELS.replace("(i64.const 7000)", "(i32.const 7000)"), "parcels", "1.0.0")
    binary = host.loader.assemble(text, "parcels")
    with pytest.raises(ComponentError, match=r"line 19: in \$price: type mismatch") as caught:
        host.loader.load(Source.of("parcels", "1.0.0", text, binary=binary))
    assert caught.value.fields["line"] == 19
    with pytest.raises(
        ComponentError, match=r"unknown func: failed to find name `\$dgits`"
    ) as told:
        host.loader.assemble(text.replace("$digits (call", "$dgits (call"), "parcels")
    assert (told.value.fields["line"], told.value.fields["column"]) == (17, 23)


# --- what it may call -----------------------------------------------------------------------------


PROBE = """
(func (export "number") (param i64 i64) (result i64) (call $number (local.get 0) (local.get 1)))
(func (export "string") (param i64 i64) (result i64) (call $string (local.get 0) (local.get 1)))
(func (export "digits") (param i64) (result i64) (call $digits (local.get 0)))
(func (export "join") (param i64 i64) (result i64) (call $join (local.get 0) (local.get 1)))
(func (export "equals") (param i64 i64) (result i32) (call $equals (local.get 0) (local.get 1)))
"""


class Probe:
    """The functions of the prelude, called from outside."""

    def __init__(self) -> None:
        self.store = wasmtime.Store()
        binary = wasmtime.wat2wasm(whole(PROBE, "probe", "1.0.0"))
        module = wasmtime.Module(self.store.engine, binary)
        self.exports: Any = wasmtime.Instance(self.store, module, []).exports(self.store)

    def call(self, name: str, *given: str | int) -> Any:
        values = [self.put(one) if isinstance(one, str) else one for one in given]
        found = self.exports[name](self.store, *values)
        if name in {"string", "digits", "join"}:
            at, length = (found >> 32) & 0xFFFFFFFF, found & 0xFFFFFFFF
            found = bytes(self.exports["memory"].read(self.store, at, at + length)).decode()
        self.exports["aegis_free"](self.store, 0, 0)
        return found

    def put(self, text: str) -> int:
        data = text.encode()
        at = self.exports["aegis_alloc"](self.store, len(data))
        self.exports["memory"].write(self.store, data, at)
        return int(at << 32 | len(data))


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe()


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_written_and_read(probe: Probe, number: int) -> None:
    assert probe.call("digits", number) == str(number)
    said = json.dumps({"no": 1, "it": number, "more": 2}, separators=(",", ":"))
    assert probe.call("number", said, "it") == number
    assert probe.call("number", said.replace(str(number), f'"{number}.50"'), "it") == number


@given(st.text(), st.text(), st.integers(0, 70_000))
def test_texts_are_joined_compared_and_found(probe: Probe, a: str, b: str, more: int) -> None:
    b += "." * more
    assert probe.call("join", a, b) == a + b
    assert probe.call("equals", a, b) == (a == b)
    said = json.dumps({"a": b, "it": a, "then": "x"}, separators=(",", ":"))
    assert json.loads(f'"{probe.call("string", said, "it")}"') == a
    assert probe.call("string", said, "none") == ""


# --- where such a text may be ---------------------------------------------------------------------


async def test_a_cell_of_a_notebook_is_a_component_of_it(tmp_path: Path) -> None:
    path = tmp_path / "book.ipynb"
    path.write_text(book(parcels("parcels 1.0.0 --grant=clock")))
    async with build_host(read(tmp_path, data=None)) as host:
        (found,) = await host.fetch(f"{path}#parcels")
        deployed = await host.deploy(f"{path}#parcels")
        assert deployed.digest == found.source.digest
        assert found.source.text == whole(PARCELS, "parcels", "1.0.0")
        parcel = await host.create("Parcel", grams=1000)
        assert (await host.call(parcel, "again")).price == 7
