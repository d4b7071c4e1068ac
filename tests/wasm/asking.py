"""Components in WAT whose functions ask the host, and give back what they were answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.wasm.modules import escaped, module

VERSION = "0.1.0"
# What a plain module imports: parameters and result.
_IMPORTS = {
    "host.log": ("i32 i32 i32", ""),
    "host.config": ("i32 i32", "i64"),
    "host.emit": ("i32 i32 i32 i32 i32 i32", "i64"),
    "host.call": ("i32 i32 i32 i32", "i64"),
    "clock.now": ("", "i64"),
    "random.bytes": ("i32 i32", ""),
    "keys.get": ("i32 i32", "i64"),
    "keys.set": ("i32 i32 i32 i32", "i64"),
    "keys.list": ("i32 i32 i32", "i64"),
    "http.fetch": ("i32 i32", "i64"),
}
ROOM = 64 << 10  # bytes that one answer may have


@dataclass(frozen=True)
class Ask:
    """A question: texts, None, and numbers as the import takes them.

    What is answered takes its place in the text that a function gives; an error is what it gives,
    unless it is `caught`: then the text of it. With `quietly` the answer is left out. Random bytes
    come as hex in quotes.
    """

    what: str
    arguments: tuple[Any, ...] = ()
    caught: bool = False
    quietly: bool = False


def ask(what: str, *arguments: Any, caught: bool = False, quietly: bool = False) -> Ask:
    """A question to the host."""
    return Ask(what, arguments, caught, quietly)


Pieces = Sequence["str | Ask"]


def asking(
    description: Mapping[str, Any], functions: Mapping[str, Pieces], *, room: int = ROOM
) -> str:
    """WAT of a module whose functions give texts of pieces, some of which it asks the host for."""
    asked = {
        piece.what for pieces in functions.values() for piece in pieces if isinstance(piece, Ask)
    }
    imports = []
    for what in sorted(asked):
        interface, _, name = what.partition(".")
        parameters, result = _IMPORTS[what]
        imports.append(
            f'(import "aegis:component/{interface}@{VERSION}" "{name}" (func $ask_{interface}_{name}'
            f"{f' (param {parameters})' if parameters else ''}"
            f"{f' (result {result})' if result else ''}))"
        )
    texts: list[str] = []
    bodies, code = {}, []
    for n, (name, pieces) in enumerate(functions.items()):
        lines = [line for piece in pieces for line in _piece(piece, texts)]
        code.append(f"""(func $f{n} (result i64) (local $r i64) (local $end i32)
            (call $begin) {" ".join(lines)}
            (i64.or (i64.shl (i64.extend_i32_u (global.get $room)) (i64.const 32))
              (i64.extend_i32_u (i32.sub (global.get $out) (global.get $room)))))""")
        bodies[name] = f"(call $f{n})"
    # Passive data needs no place of its own: it is copied to where it is wanted.
    segments = "\n".join(f'(data $t{n} "{escaped(text)}")' for n, text in enumerate(texts))
    most = max([len(text.encode()) for text in texts], default=0)
    return module(
        description,
        imports="\n".join(imports),
        bodies=bodies,
        pages=2 + (2 * most + 4 * room + 65535) // 65536 + 4,
        functions=f"""
        {segments}
        (global $room (mut i32) (i32.const 0))
        (global $out (mut i32) (i32.const 0))
        (func $begin
          (global.set $room (call $alloc (i32.const {room})))
          (global.set $out (global.get $room)))
        (func $put (param $at i32) (param $size i32)
          (memory.copy (global.get $out) (local.get $at) (local.get $size))
          (global.set $out (i32.add (global.get $out) (local.get $size))))
        (func $char (param $c i32)
          (i32.store8 (global.get $out) (local.get $c))
          (global.set $out (i32.add (global.get $out) (i32.const 1))))
        (func $digit (param $n i32)
          (call $char (i32.add (local.get $n)
            (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $n) (i32.const 10))))))
        (func $number (param $n i64)
          (if (i64.ge_u (local.get $n) (i64.const 10))
            (then (call $number (i64.div_u (local.get $n) (i64.const 10)))))
          (call $digit (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 10)))))
        (func $hex (param $at i32) (param $size i32) (local $i i32)
          (block $end (loop $next
            (br_if $end (i32.eq (local.get $i) (local.get $size)))
            (call $digit (i32.shr_u
              (i32.load8_u (i32.add (local.get $at) (local.get $i))) (i32.const 4)))
            (call $digit (i32.and
              (i32.load8_u (i32.add (local.get $at) (local.get $i))) (i32.const 15)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next))))
        {" ".join(code)}
        """,
    )


def _piece(piece: str | Ask, texts: list[str]) -> list[str]:
    """The code that puts a piece at the end of what is given."""
    if isinstance(piece, str):
        return [*_text(piece, texts), "(call $put)"]
    interface, _, name = piece.what.partition(".")
    call = f"(call $ask_{interface}_{name})"
    if piece.what == "clock.now":
        return [call, "(call $number)"]
    if piece.what == "random.bytes":
        (count,) = piece.arguments
        room = f"(local.set $end (call $alloc (i32.const {count})))"
        quote = "(call $char (i32.const 34))"
        shown = f"{quote} (local.get $end) (i32.const {min(count, 256)}) (call $hex) {quote}"
        return [room, f"(local.get $end) (i32.const {count})", call, shown]
    arguments: list[str] = []
    for argument in piece.arguments:
        if argument is None:
            arguments.append("(i32.const 0) (i32.const 0)")
        elif isinstance(argument, int):
            arguments.append(f"(i32.const {argument})")
        else:
            arguments += _text(argument, texts)
    if not _IMPORTS[piece.what][1]:
        return [*arguments, call]
    lines = [*arguments, call, "(local.set $r)"]
    if not piece.caught:
        failed = "(i64.ne (i64.and (local.get $r) (i64.const 0x80000000)) (i64.const 0))"
        lines.append(f"(if {failed} (then (return (local.get $r))))")
    if not piece.quietly:
        lines += [
            "(i32.wrap_i64 (i64.shr_u (local.get $r) (i64.const 32)))",
            "(i32.wrap_i64 (i64.and (local.get $r) (i64.const 0x7fffffff)))",
            "(call $put)",
        ]
    return lines


def _text(text: str, texts: list[str]) -> list[str]:
    """The code that leaves where a text is and how long, in memory made for it."""
    texts.append(text)
    size = len(text.encode())
    place = f"(local.set $end (call $alloc (i32.const {size})))"
    copy = f"(memory.init $t{len(texts) - 1} (local.get $end) (i32.const 0) (i32.const {size}))"
    return [place, copy, f"(local.get $end) (i32.const {size})"]
