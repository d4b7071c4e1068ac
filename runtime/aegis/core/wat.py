"""Components as text of WebAssembly (WAT): whole modules, and short ones that describe themselves.

A text that begins with `(module` or `(component` is whole, and stays as it is. A short one begins
with its description, as TOML in comments, and has the functions that it describes:

    ;; [models.Parcel]
    ;; endpoint = "parcels"
    ;; fields.grams = {type = "integer"}
    ;; fields.price = {type = "integer", default = 0}
    ;; ports.weigh = {consumes = ["parcel.created"], produces = "parcel.weighed"}
    ;; [texts]
    ;; grams = "grams"
    ;; priced = '{"record": {"price": '
    ;; end = "}}"

    (func $Parcel.weigh (param $input i64) (result i64)
      (call $join (global.get $priced)
        (call $join (call $digits (call $number (local.get $input) (global.get $grams)))
          (global.get $end))))

What it lacks of a module is added behind it: `(memory)`, whose first 64 KiB are its own, `$alloc`,
the exports of the contract, of which `aegis_invoke` calls each described function by its name, a
global for each of its `texts`, and of core/prelude.py what it calls.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from aegis.core.description import Description
from aegis.core.errors import ComponentError, closest
from aegis.core.manifest import DOTS
from aegis.core.prelude import FUNCTIONS, MEMORY

PAGE = 65536
ADDED = ";; What the text lacked was added."
TEXTS = "texts"
LONGEST = 1 << 18  # characters of a description
MARK = ";;"

_WHOLE = re.compile(r"\s*\(\s*(module|component)\b")
# A text that does not end goes on to the end: to look for others in it would take for ever.
_SKIPPED = re.compile(r'"(?:\\.|[^"\\])*(?:"|\\?\Z)|;;[^\n]*|\(;', re.DOTALL)
_NESTED = re.compile(r"\(;|;\)")
_FUNCTION = re.compile(r"\(\s*func\s+\$([^\s()\"';,]+)")
_CLAUSE = re.compile(r"\s*\(\s*(export|param|result|type)\b([^()]*)\)")
_EXPORT = re.compile(r"\(\s*export\b")
_STRING = re.compile(r'\s*"([^"]*)"')
_MEMORY = re.compile(r"\(\s*memory[\s$]")
_CALLED = re.compile(r"\$([a-z]+)")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_PLACE = re.compile(r"\s*\(at line (\d+), column (\d+)\)")


class _Short(NamedTuple):
    """A short text: as it is, without comments and strings, and what it says at its top.

    `document` is the description as JSON.
    """

    text: str
    bare: str
    document: str
    description: Description
    texts: Mapping[str, str]


def is_whole(text: str) -> bool:
    """Whether a text is a module or a component as it stands."""
    return _WHOLE.match(bare(text)) is not None


def whole(text: str, name: str, version: str = "") -> str:
    """The module that a text is, or stands for; its lines stay where they are.

    `name` and `version` are what a description says, or leaves out. Of a file with nothing beside
    it nobody knows the version but the text; its name is that of the file, if it says no other.
    Raises ComponentError, with `line` and `column` (both from 1) in its fields where one is at
    fault.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ComponentError(name, ["it is no text: it has half a character"]) from None
    if is_whole(text):
        return text
    short = _read(text, name, version)
    places = (_STRING.match(text, one.end()) for one in _EXPORT.finditer(short.bare))
    exports = {place[1] for place in places if place is not None}
    named = functions(text)
    asked = () if "aegis_invoke" in exports else tuple(called(short.description))
    _check(short, name, asked, named)
    parts = [*_data(short, asked, exports), *_entries(short, asked, exports)]
    parts += _prelude("\n".join((short.bare, *parts)), named)
    return f"(module {text.rstrip()}\n\n{ADDED}\n" + "".join(
        f"{part.strip(chr(10))}\n" for part in (*parts, ")")
    )


def functions(text: str) -> Mapping[str, int]:
    """The functions that a text names, without `$`, and the line where each begins.

    Of a short text that was made whole only its own.
    """
    plain = bare(text.partition(f"\n{ADDED}\n")[0])
    found, at, line = {}, 0, 1
    for one in _FUNCTION.finditer(plain):
        line += plain.count("\n", at, one.start())
        at, found[one[1]] = one.start(), line
    return found


def called(said: Description) -> Iterator[str]:
    """What a host may call of a component that describes itself so, by name."""
    for name, model in said.models.items():
        for one, port in model.ports.items():
            yield f"{name}.{one}"
            marks = ("undo", "fallback", "answer")
            yield from (f"{name}.{one}.{mark}" for mark in marks if getattr(port, mark) is not None)
        yield from (f"{name}.{one}" for one in model.commands)
        if model.unmigrate:
            yield f"{name}.unmigrate"
    for name, part in said.parts.items():
        methods = (one for protocol in part.does for one in said.protocols.get(protocol, {}))
        yield from dict.fromkeys(f"{name}.{one}" for one in methods)
    yield from said.listeners


@lru_cache(maxsize=4)  # a text is looked through for several things
def bare(text: str) -> str:
    """A text with blanks for its comments and strings; all else is where it was."""
    parts, at = [], 0
    while found := _SKIPPED.search(text, at):
        end = _end_of(text, found.start()) if found[0] == "(;" else found.end()
        parts += [text[at : found.start()], _blank(text[found.start() : end])]
        at = end
    return "".join((*parts, text[at:]))


def _end_of(text: str, at: int) -> int:
    """Where the comment ends that begins there, with those in it."""
    depth = 0
    for found in _NESTED.finditer(text, at):
        depth += 1 if found[0] == "(;" else -1
        if not depth:
            return found.end()
    return len(text)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


# What it says at its top


def _read(text: str, name: str, version: str) -> _Short:
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    found = _top(lines, first, name)
    texts = found.pop(TEXTS, {})
    wrong = [f"{TEXTS} is a table of names and texts"] if not isinstance(texts, dict) else []
    for one, value in texts.items() if not wrong else ():
        if not _NAME.match(one):
            wrong.append(f"{TEXTS}.{one} is no name: letters, digits and _")
        elif not isinstance(value, str):
            wrong.append(f"{TEXTS}.{one} is no text: {value!r}")
    if not version:
        found.setdefault("name", name)
        if "version" not in found:
            wrong.append('it says no version: write `;; version = "1.0.0"` at its top')
    for key, given in (("name", name), ("version", version)) if version else ():
        if found.setdefault(key, given) != given:
            wrong.append(f"it is called {given} here, and its description says {found[key]!r}")
    if wrong:
        raise ComponentError(name, wrong)
    try:
        description = msgspec.convert(found, Description)
        document = msgspec.json.encode(found).decode()
    except msgspec.ValidationError as error:
        raise _unfit(name, str(error), lines, first) from None
    except (RecursionError, OverflowError) as error:
        raise ComponentError(name, [f"its description is no JSON: {error}"]) from None
    return _Short(text, bare(text), document, description, texts)


def _top(lines: Sequence[str], first: int, name: str) -> dict[str, Any]:
    """The TOML in the comments that begin at line `first`, from 0. Raises ComponentError."""
    said = []
    for number, line in enumerate(lines[first:], start=first + 1):
        if not line.lstrip().startswith(MARK):
            break
        if line.count(".") > DOTS:  # as a key they would keep the parser busy for minutes
            problem = f"line {number}: its description has more than {DOTS} dots in a line"
            raise ComponentError(name, [problem], line=number)
        said.append(line.lstrip().removeprefix(MARK))
    if sum(map(len, said)) > LONGEST:
        raise ComponentError(name, [f"its description is longer than {LONGEST >> 10} KiB"])
    try:
        return tomllib.loads("\n".join(said))
    except (ValueError, RecursionError) as error:  # a number may be too long to be one
        raise _unread(name, str(error), lines, first) from None


def _unread(name: str, said: str, lines: Sequence[str], first: int) -> ComponentError:
    """What to raise of a description that is no TOML; `first` is its first line, from 0."""
    hint = "what begins with ;; at the top describes the component; notes begin with ;; #"
    found = _PLACE.search(said)
    if found is None:
        return ComponentError(name, [f"its description is no TOML: {said}"], hint=hint)
    line = min(first + int(found[1]), len(lines))
    column = int(found[2]) + lines[line - 1].find(MARK) + len(MARK)
    problem = f"line {line}: its description is no TOML: {_PLACE.sub('', said)}"
    return ComponentError(name, [problem], hint=hint, line=line, column=column)


def _unfit(name: str, said: str, lines: Sequence[str], first: int) -> ComponentError:
    """What to raise of a description that is none, with the line that names what is wrong."""
    words = re.findall(r"`(\w+)`", said)
    for line, text in enumerate(lines[first:], start=first + 1):
        if text.lstrip().startswith(MARK) and words and words[0] in text:
            column = text.index(words[0]) + 1
            said = said.partition(" - at")[0]
            return ComponentError(name, [f"line {line}: {said}"], line=line, column=column)
    return ComponentError(name, [f"its description: {said}"])


def _check(short: _Short, name: str, asked: Sequence[str], named: Mapping[str, int]) -> None:
    """Raise ComponentError unless all that is described is there, and is called as it will be."""
    missing = [one for one in asked if one not in named]
    if missing:
        hint = closest(missing[0], named) or f"write (func ${missing[0]} {_SIGNATURE} ...)"
        problems = [f"it describes {one}, and has no function ${one}" for one in missing]
        raise ComponentError(name, problems, hint=hint)
    for found in _FUNCTION.finditer(short.bare):
        if found[1] not in asked:
            continue
        at, types, other = found.end(), {"param": "", "result": ""}, False
        while clause := _CLAUSE.match(short.bare, at):
            at, other = clause.end(), other or clause[1] == "type"
            words = [word for word in clause[2].split() if word[0] != "$"]
            if clause[1] in types:
                types[clause[1]] += " ".join(words)
        if not other and types != {"param": "i64", "result": "i64"}:
            line = named[found[1]]
            raise ComponentError(
                name,
                [f"line {line}: ${found[1]} takes a text and gives one: {_SIGNATURE}"],
                line=line,
                column=found.start() - short.bare.rfind("\n", 0, found.start()),
            )


_SIGNATURE = "(param $input i64) (result i64)"


# What it lacks


def _data(short: _Short, asked: Sequence[str], exports: set[str]) -> Iterator[str]:
    """Its texts in memory, each with what has its place; and the memory for them."""
    at = PAGE
    texts = {f"global ${name}": text for name, text in short.texts.items()}
    if "aegis_describe" not in exports:
        texts["describe"] = short.document
    texts |= {f"global $aegis_name_{n}": name for n, name in enumerate(asked)}
    if asked:
        texts["global $aegis_unknown"] = "it has no function of that name"
    for what, text in texts.items():
        data = text.encode()
        place = f"(i64.const {at << 32 | len(data):#x})"
        yield f'(data (i32.const {at:#x}) "{_escaped(data)}")'
        if what == "describe":
            yield f'(func (export "aegis_describe") (result i64) {place})'
        else:
            yield f"({what} i64 {place})"
        at += (len(data) + 7) // 8 * 8
    if not _MEMORY.search(short.bare):
        yield f'(memory (export "memory") {at // PAGE + 1})'
    if "alloc" not in functions(short.text):
        yield MEMORY.format(begin=at)


def _escaped(data: bytes) -> str:
    """Bytes as a string of WAT has them."""
    plain = {byte: chr(byte) for byte in range(32, 127) if chr(byte) not in '"\\'}
    return "".join(plain.get(byte, f"\\{byte:02x}") for byte in data)


def _entries(short: _Short, asked: Sequence[str], exports: set[str]) -> Iterator[str]:
    """The exports that call its functions by name."""
    takes = "(param $name i32) (param $long i32) (param $input i32) (param $length i32)"
    if "aegis_invoke" not in exports:
        yield f'(func $aegis_invoke (export "aegis_invoke") {takes} (result i64)'
        yield "  (local $called i64) (local $given i64)"
        yield "  (local.set $called (call $text (local.get $name) (local.get $long)))"
        yield "  (local.set $given (call $text (local.get $input) (local.get $length)))"
        for n, name in enumerate(asked):
            yield f"  (if (call $equals (local.get $called) (global.get $aegis_name_{n}))"
            yield f"    (then (return (call ${name} (local.get $given)))))"
        yield "  (call $failed (global.get $aegis_unknown)))" if asked else "  unreachable)"
    migrates = any(model.migrate for model in short.description.models.values())
    if migrates and "aegis_migrate" not in exports:
        yield f'(func (export "aegis_migrate") {takes} (result i64)'
        yield "  (call $migrate (call $text (local.get $name) (local.get $long))"
        yield "    (call $text (local.get $input) (local.get $length))))"


def _prelude(bare: str, named: Mapping[str, int]) -> Iterator[str]:
    """The functions of the prelude that are called, and not the text's own."""
    wanted = [name for name in _CALLED.findall(bare) if name in FUNCTIONS]
    added = set(named)
    while wanted:
        name = wanted.pop()
        if name not in added:
            added.add(name)
            code, more = FUNCTIONS[name]
            yield code
            wanted += more
