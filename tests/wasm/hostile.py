"""Guests that want the host's time, memory or log, each by what it does when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.wasm.modules import ECHO, component, module
from tests.wasm.sandbox import DESCRIBED

OVER = r"longer than [\d.]+ s"
ONE, TWO = "(i32.const 64) (i32.const 4)", "(i32.const 80) (i32.const 4)"
MIB = 60 << 20
FUNCTIONS = """
    (data (i32.const 64) "name") (data (i32.const 80) "text")
    (data (i32.const 96) "\\ff\\fe\\fd")
    (table $table 1 funcref)
    (type $nothing (func))
    (func $deeper (param i64) (result i64)
      (i64.add (local.get 0) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
    (func $wide (result i32)
      (drop (memory.grow (i32.const 960)))
      (i32.const 131072))
    (func $other)
"""
# What each function of one guest does, and what is said of it; "" where it only wastes time.
DOES: Mapping[str, tuple[str, str]] = {
    "loops": ("(loop br 0) (i64.const 0)", OVER),
    "allocates": (
        """(loop
          (drop (memory.grow (i32.const 1)))
          (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1))
          br 0) (i64.const 0)""",
        OVER,
    ),
    "allocates tables": (
        "(loop (drop (table.grow $table (ref.null func) (i32.const 1000))) br 0) (i64.const 0)",
        OVER,
    ),
    "fills": (
        f"""(drop (memory.grow (i32.const 960)))
        (loop (memory.fill (i32.const 131072) (i32.const 7) (i32.const {MIB})) br 0)
        (i64.const 0)""",
        OVER,
    ),
    "recurses": ("(call $deeper (i64.const 0))", "its stack is exhausted"),
    "returns a gigabyte": ("(i64.const 0x40040000000)", "1073741824|out of bounds"),
    "returns from nowhere": ("(i64.const 0xfffffff000000010)", "outside of|out of bounds"),
    "returns 60 MiB": (
        f"(i64.or (i64.shl (i64.extend_i32_u (call $wide)) (i64.const 32)) (i64.const {MIB}))",
        f"a text of {MIB} bytes, and|{OVER}",
    ),
    "fails with 60 MiB": (
        f"""(i64.or (i64.shl (i64.extend_i32_u (call $wide)) (i64.const 32))
        (i64.const {MIB | 1 << 31}))""",
        f"a text of {MIB} bytes, and|{OVER}",
    ),
    "returns no text": ("(i64.const 0x6000000003)", "UTF-8|utf-8"),
    "asks on": (f"(loop (drop (call $host_call {ONE} {TWO})) br 0) (i64.const 0)", OVER),
    "asks 60 MiB": (
        f"(call $host_call {ONE} (call $wide) (i32.const {MIB}))",
        f"{MIB} bytes, and|{OVER}",
    ),
    "reads settings": (
        f"(loop (drop (call $host_config {ONE})) br 0) (i64.const 0)",
        f"{OVER}|outside of its memory|end of memory",  # which is where the answers go
    ),
    "emits on": (
        f"(loop (drop (call $host_emit {ONE} (i32.const 0) (i32.const 0) {TWO})) br 0) (i64.const 0)",
        f"emits too much|{OVER}",
    ),
    "emits 60 MiB": (
        f"(call $host_emit {ONE} (i32.const 0) (i32.const 0) (call $wide) (i32.const {MIB}))",
        f"{MIB} bytes, and|{OVER}",
    ),
    "logs on": (f"(loop (call $host_log (i32.const 3) {ONE}) br 0) (i64.const 0)", OVER),
    "logs 60 MiB": (
        f"(call $host_log (i32.const 3) (call $wide) (i32.const {MIB})) (i64.const 0)",
        "",
    ),
    "logs from nowhere": (
        "(call $host_log (i32.const 3) (i32.const -16) (i32.const 32)) (i64.const 0)",
        "outside of|out of bounds",
    ),
    "traps": ("unreachable", "`unreachable` was reached"),
    "divides": ("(i64.div_u (i64.const 1) (i64.const 0))", "divided by zero"),
    "reads nowhere": ("(i64.load (i32.const -8))", "outside of its memory"),
    "calls nothing": (
        "(call_indirect $table (type $nothing) (i32.const 0)) (i64.const 0)",
        "an empty index",
    ),
}
CALLS = ("host.log", "host.config", "host.emit", "host.call")


def wat(kind: str) -> str:
    """One guest that can do all of it, and `echo` besides: a "module" or a "component"."""
    make = {"module": module, "component": component}[kind]
    bodies = {name: body for name, (body, _) in DOES.items()}
    return make(DESCRIBED, calls=CALLS, functions=FUNCTIONS, bodies={"echo": ECHO, **bodies})


@dataclass(frozen=True)
class Odd:
    """A plain module that is wrong in what it gives the host, and what is said of it."""

    alloc: str = ""
    free: str = ""
    functions: str = ""
    said: str = ""

    @property
    def wat(self) -> str:
        """Its text."""
        more = {name: text for name, text in (("alloc", self.alloc), ("free", self.free)) if text}
        return module(
            DESCRIBED, calls=("host.log",), bodies={"echo": ECHO}, functions=self.functions, **more
        )


ODD: Mapping[str, Odd] = {
    "alloc gives -1": Odd(alloc="(i32.const -1)", said="outside of its memory"),
    "alloc gives the end": Odd(alloc="(i32.const 131072)", said="outside of its memory"),
    "alloc gives the same twice": Odd(alloc="(i32.const 4096)", said="unreachable"),
    "alloc gives the description": Odd(alloc="(i32.const 1024)", said="unreachable"),
    "alloc traps": Odd(alloc="unreachable", said="unreachable"),
    "alloc loops": Odd(alloc="(loop br 0) (i32.const 0)", said=OVER),
    "alloc calls itself": Odd(alloc="(call $alloc (local.get $size))", said="stack is exhausted"),
    "alloc calls the host": Odd(
        alloc="(call $host_log (i32.const 1) (i32.const 0) (i32.const 4)) (i32.const 4096)",
        said="aegis_alloc or aegis_free calls the host",
    ),
    "alloc grows the memory": Odd(
        alloc="""(local $at i32) (local.set $at (memory.grow (i32.const 1)))
        (i32.mul (local.get $at) (i32.const 65536))""",
    ),
    "free traps": Odd(free="unreachable", said="unreachable"),
    "free loops": Odd(free="(loop br 0)", said=OVER),
    "it traps when it starts": Odd(
        functions="(func $s unreachable) (start $s)", said="unreachable"
    ),
    "it loops when it starts": Odd(functions="(func $s (loop br 0)) (start $s)", said=OVER),
    "it logs when it starts": Odd(
        functions="""(func $s (call $host_log (i32.const 1) (i32.const 0) (i32.const 4)))
        (start $s)""",
        said="before it has begun",
    ),
    "it loops in _initialize": Odd(
        functions='(func (export "_initialize") (loop br 0))', said=OVER
    ),
    "it has many memories": Odd(
        functions="(memory 1) (memory 1)", said="memory count|memories|multiple"
    ),
    "it has many tables": Odd(functions="(table 1 funcref) " * 40, said="table count|tables"),
    "it has a large table": Odd(
        functions="(table 1000000 funcref)", said="table minimum size|elements"
    ),
}
