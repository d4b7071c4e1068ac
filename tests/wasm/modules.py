"""Components in WebAssembly for tests, written by hand: plain modules that answer by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import wasmtime

from aegis.core.component import Source

# Where texts are: the description from there on, then answers; what the host gives comes behind.
DESCRIBED = 1024


def escaped(text: str) -> str:
    """A text as a data segment of WAT has it."""
    return "".join(f"\\{byte:02x}" for byte in text.encode())


def module(
    description: Mapping[str, Any],
    answers: Mapping[str, str] | None = None,
    *,
    imports: str = "",
    functions: str = "",
    bodies: Mapping[str, str] | None = None,
    pages: int = 2,
) -> str:
    """WAT of a module that describes itself so, and answers each function with a fixed text.

    An answer that begins with `!` is an error. `bodies` are instead the code of functions, which
    leaves a packed text; `$name`, `$input` have where their arguments are, with `_len` behind.
    """
    said = json.dumps(description)
    at, data, code = DESCRIBED, [], []

    def segment(text: str) -> tuple[int, int]:
        nonlocal at
        place, length = at, len(text.encode())
        data.append(f'(data (i32.const {place}) "{escaped(text)}")')
        at += length + 8
        return place, length

    place, length = segment(said)
    packed = (place << 32) | length
    for name, answer in {**(answers or {}), **(bodies or {})}.items():
        spelled, size = segment(name)
        is_body = name in (bodies or {})
        if is_body:
            result = answer
        else:
            failed = answer.startswith("!")
            there, long = segment(answer.removeprefix("!"))
            result = f"(i64.const {(there << 32) | long | ((1 << 31) if failed else 0)})"
        code.append(
            f"(if (call $is (local.get $name) (local.get $name_len) (i32.const {spelled}) "
            f"(i32.const {size})) (then (return {result})))"
        )
    begin = max(65536, (at + 65535) // 65536 * 65536)
    return f"""(module
  {imports}
  (memory (export "memory") {pages})
  (global $free (mut i32) (i32.const {begin}))
  (global $begin i32 (i32.const {begin}))
  (func $alloc (export "aegis_alloc") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free)
      (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8)))))
  (func (export "aegis_free") (param i32 i32) (global.set $free (global.get $begin)))
  (func (export "aegis_describe") (result i64) (i64.const {packed}))
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
    (i32.const 1))
  {functions}
  (func $invoke (export "aegis_invoke")
    (param $name i32) (param $name_len i32) (param $input i32) (param $input_len i32) (result i64)
    {" ".join(code)}
    unreachable)
  {" ".join(data)}
)"""


def source(name: str, wat: str, version: str = "1.0.0", **more: Any) -> Source:
    """The source of a component in WAT."""
    return Source.of(
        name, version, wat, origin="test", binary=bytes(wasmtime.wat2wasm(wat)), **more
    )
