"""Components in WebAssembly for tests, written by hand: plain modules that answer by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import wasmtime

from aegis.core.component import Source

# Where texts are: the description from there on, then answers; what the host gives comes behind.
DESCRIBED = 1024


def escaped(text: str) -> str:
    """A text as a data segment of WAT has it."""
    return "".join(f"\\{byte:02x}" for byte in text.encode())


# What guests may call, as a plain module imports it and as the Component Model has it; `$host_call`
# and so on are the same in the code of both, a packed text is what each gives.
_TEXT = ("i32", "i32")
CALLS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "host.log": (("i32", *_TEXT), "", '(param "level" $level) (param "message" string)'),
    "host.config": (_TEXT, "i64", '(param "key" string)'),
    "host.emit": (
        (*_TEXT, *_TEXT, *_TEXT),
        "i64",
        '(param "name" string) (param "subject" (option string)) (param "data" string)',
    ),
    "host.call": ((*_TEXT, *_TEXT), "i64", '(param "target" string) (param "input" string)'),
    "clock.now": ((), "u64", ""),
    "keys.get": (_TEXT, "i64", '(param "key" string)'),
    "keys.set": ((*_TEXT, *_TEXT), "i64", '(param "key" string) (param "value" (option string))'),
    "keys.list": ((*_TEXT, "i32"), "i64", '(param "prefix" string) (param "limit" u32)'),
    "http.fetch": (_TEXT, "i64", '(param "request" string)'),
}
VERSION = "0.1.0"

_ALLOC = """
    (global.get $free)
    (global.set $free (i32.add (global.get $free)
      (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))"""
_IS = """
  (func $is (param $a i32) (param $a_len i32) (param $b i32) (param $b_len i32) (result i32)
    (local $i i32)
    (if (i32.ne (local.get $a_len) (local.get $b_len)) (then (return (i32.const 0))))
    (block $end (loop $next
      (br_if $end (i32.eq (local.get $i) (local.get $a_len)))
      (if (i32.ne (i32.load8_u (i32.add (local.get $a) (local.get $i)))
                  (i32.load8_u (i32.add (local.get $b) (local.get $i))))
        (then (return (i32.const 0))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (i32.const 1))"""
_ARGUMENTS = "(param $name i32) (param $name_len i32) (param $input i32) (param $input_len i32)"
ECHO = """(i64.or (i64.shl (i64.extend_i32_u (local.get $input)) (i64.const 32))
    (i64.extend_i32_u (local.get $input_len)))"""


class _Code:
    """What both kinds of module have: texts, where they lie, and what answers by name."""

    def __init__(
        self,
        description: Mapping[str, Any],
        answers: Mapping[str, str] | None,
        bodies: Mapping[str, str] | None,
    ) -> None:
        at, data, code = DESCRIBED, [], []

        def segment(text: str) -> tuple[int, int]:
            nonlocal at
            place, length = at, len(text.encode())
            data.append(f'(data (i32.const {place}) "{escaped(text)}")')
            at += length + 8
            return place, length

        place, length = segment(json.dumps(description))
        self.described = (place << 32) | length
        for name, answer in {**(answers or {}), **(bodies or {})}.items():
            spelled, size = segment(name)
            result = answer
            if name not in (bodies or {}):
                failed = answer.startswith("!")
                there, long = segment(answer.removeprefix("!"))
                result = f"(i64.const {(there << 32) | long | ((1 << 31) if failed else 0)})"
            code.append(
                f"(if (call $is (local.get $name) (local.get $name_len) (i32.const {spelled}) "
                f"(i32.const {size})) (then (return {result})))"
            )
        self.begin = max(65536, (at + 65535) // 65536 * 65536)
        self.answers, self.data = " ".join(code), " ".join(data)


def module(
    description: Mapping[str, Any],
    answers: Mapping[str, str] | None = None,
    *,
    calls: Sequence[str] = (),
    imports: str = "",
    functions: str = "",
    bodies: Mapping[str, str] | None = None,
    pages: int = 2,
    alloc: str = _ALLOC,
    free: str = "(global.set $free (global.get $begin))",
) -> str:
    """WAT of a plain module that describes itself so, and answers each function with a fixed text.

    An answer that begins with `!` is an error. `bodies` are instead the code of functions, which
    leaves a packed text; `$name`, `$input` have where their arguments are, with `_len` behind.
    `calls` are what of CALLS it imports. `alloc` gets `$size` and leaves an address.
    """
    code = _Code(description, answers, bodies)
    for call in calls:
        interface, name = call.split(".")
        given, result, _ = CALLS[call]
        parameters = f"(param {' '.join(given)})" if given else ""
        results = "(result i64)" if result else ""
        imports += f"""
  (import "aegis:component/{interface}@{VERSION}" "{name}"
    (func ${interface}_{name} {parameters} {results}))"""
    return f"""(module
  {imports}
  (memory (export "memory") {pages})
  (global $free (mut i32) (i32.const {code.begin}))
  (global $begin i32 (i32.const {code.begin}))
  (func $alloc (export "aegis_alloc") (param $size i32) (result i32) {alloc})
  (func (export "aegis_free") (param i32 i32) {free})
  (func (export "aegis_describe") (result i64) (i64.const {code.described})){_IS}
  {functions}
  (func $invoke (export "aegis_invoke") {_ARGUMENTS} (result i64)
    {code.answers}
    unreachable)
  {code.data}
)"""


def component(
    description: Mapping[str, Any],
    answers: Mapping[str, str] | None = None,
    *,
    calls: Sequence[str] = (),
    functions: str = "",
    bodies: Mapping[str, str] | None = None,
    pages: int = 2,
    alloc: str = _ALLOC,
    version: str = VERSION,
) -> str:
    """WAT of a component that is and does the same; see `module`.

    The Component Model wants results in memory, of which the code gives where they lie.
    """
    code = _Code(description, answers, bodies)
    imported, lowered, given_to, wrapped = [], [], [], []
    for interface in dict.fromkeys(call.split(".")[0] for call in calls):
        names = [call.split(".")[1] for call in calls if call.startswith(f"{interface}.")]
        exports, instance = [], []
        for name in names:
            plain, result, typed = CALLS[f"{interface}.{name}"]
            gives = {"i64": "(result (result string (error string)))", "u64": "(result u64)"}
            exports.append(f'(export "{name}" (func {typed} {gives.get(result, "")}))')
            one = f"{interface}_{name}"
            lowered.append(
                f'(core func ${one} (canon lower (func ${interface} "{name}") '
                f'(memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))'
            )
            instance.append(f'(export "{name}" (func ${one}))')
            wrapped.append(_wrapped(interface, name, plain, result, typed))
        level = ""
        if "log" in names:
            level = """(type $levels (enum "debug" "info" "warning" "error"))
    (export "level" (type $level (eq $levels)))"""
        imported.append(
            f'(import "aegis:component/{interface}@{version}" (instance ${interface} {level} '
            f"{' '.join(exports)}))"
        )
        given_to.append(f'(with "{interface}" (instance {" ".join(instance)}))')
    newline = "\n  "
    return f"""(component
  {newline.join(imported)}
  (core module $m
    (memory (export "memory") {pages})
    (global $free (mut i32) (i32.const {code.begin}))
    (func $alloc (export "alloc") (param $size i32) (result i32) {alloc})
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (call $alloc (local.get 3)))
    (func (export "reset") (param i32) (global.set $free (i32.const {code.begin}))))
  (core instance $memory (instantiate $m))
  {newline.join(lowered)}
  (core module $main
    (import "memory" "memory" (memory {pages}))
    (import "memory" "alloc" (func $alloc (param i32) (result i32)))
    {" ".join(one for one, _ in wrapped)}
    {" ".join(one for _, one in wrapped)}{_IS}
    {functions}
    (func $invoke {_ARGUMENTS} (result i64)
      {code.answers}
      unreachable)
    (func (export "describe") (result i32)
      (i64.store (i32.const 16) (i64.rotl (i64.const {code.described}) (i64.const 32)))
      (i32.const 16))
    (func (export "invoke") {_ARGUMENTS} (result i32)
      (local $packed i64)
      (local.set $packed (call $invoke (local.get $name) (local.get $name_len)
        (local.get $input) (local.get $input_len)))
      (i32.store (i32.const 32)
        (i32.shr_u (i32.wrap_i64 (local.get $packed)) (i32.const 31)))
      (i32.store (i32.const 36) (i32.wrap_i64 (i64.shr_u (local.get $packed) (i64.const 32))))
      (i32.store (i32.const 40)
        (i32.and (i32.wrap_i64 (local.get $packed)) (i32.const 0x7fffffff)))
      (i32.const 32))
    {code.data})
  (core instance $i (instantiate $main (with "memory" (instance $memory)) {" ".join(given_to)}))
  (func (export "describe") (result string)
    (canon lift (core func $i "describe") (memory (core memory $memory "memory"))
      (realloc (core func $memory "realloc")) (post-return (core func $memory "reset"))))
  (func (export "invoke") (param "name" string) (param "input" string)
    (result (result string (error string)))
    (canon lift (core func $i "invoke") (memory (core memory $memory "memory"))
      (realloc (core func $memory "realloc")) (post-return (core func $memory "reset"))))
)"""


def _wrapped(
    interface: str, name: str, plain: tuple[str, ...], result: str, typed: str
) -> tuple[str, str]:
    """An import of a component's code, and what makes a function of it as plain modules have it."""
    one = f"{interface}_{name}"
    # Where plain modules have an address of 0 for nothing, components have a number before it.
    given: list[str] = []
    names = re.findall(r'"\w+" ([^)]*)', typed)
    at = 0
    for kind in names:
        if kind.startswith("(option"):
            given.append(f"(i32.ne (local.get {at}) (i32.const 0))")
        width = 2 if "string" in kind else 1
        given += [f"(local.get {n})" for n in range(at, at + width)]
        at += width
    wide = ["i32"] * len(given) + (["i32"] if result == "i64" else [])
    parameters = f"(param {' '.join(wide)})" if wide else ""
    gives = "(result i64)" if result == "u64" else ""
    imported = f'(import "{interface}" "{name}" (func $low_{one} {parameters} {gives}))'
    body = f"(call $low_{one} {' '.join(given)} {'(i32.const 48)' if result == 'i64' else ''})"
    if result == "i64":
        body += """
      (i64.or
        (i64.or (i64.shl (i64.load32_u (i32.const 52)) (i64.const 32))
          (i64.load32_u (i32.const 56)))
        (i64.shl (i64.load8_u (i32.const 48)) (i64.const 31)))"""
    plainly = f"(param {' '.join(plain)})" if plain else ""
    results = "(result i64)" if result else ""
    return imported, f"(func ${one} {plainly} {results} {body})"


def source(name: str, wat: str, version: str = "1.0.0", **more: Any) -> Source:
    """The source of a component in WAT."""
    return Source.of(
        name, version, wat, origin="test", binary=bytes(wasmtime.wat2wasm(wat)), **more
    )
