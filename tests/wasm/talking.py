"""Guests in WAT that ask the host, tell what they were called with, and publish events.

A `Talk` makes the bodies of functions for `tests.wasm.modules.module`: what a function gives is
what the host answered it, or what it was called with, as an answer or as the text of an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegis.core.component import Source
from tests.wasm.modules import escaped, module, source

HOST = "aegis:component/host@0.1.0"
IMPORTS = f"""
  (import "{HOST}" "call" (func $call (param i32 i32 i32 i32) (result i64)))
  (import "{HOST}" "emit" (func $emit (param i32 i32 i32 i32 i32 i32) (result i64)))
  (import "{HOST}" "config" (func $config (param i32 i32) (result i64)))
"""
# Where the texts of bodies are: behind the description and the answers.
TEXTS = 40960

FAILS = """
  (func $fail (param $packed i64) (result i64)
    (i64.or (local.get $packed) (i64.const 0x80000000)))
  (func $both (param i64 i64) (result i64) (local.get 1))
  (func $boom (result i64) unreachable)
"""
INPUT = (
    "(i64.or (i64.shl (i64.extend_i32_u (local.get $input)) (i64.const 32))"
    " (i64.extend_i32_u (local.get $input_len)))"
)
ECHO = INPUT
"""Gives what it was called with."""
TELL = f"(call $fail {INPUT})"
"""Fails, and says what it was called with."""
BOOM = "(call $boom)"
"""Is stopped."""


class Talk:
    """The bodies of one module's functions, and the texts in them."""

    def __init__(self) -> None:
        self._at = TEXTS
        self._data: list[str] = []

    def text(self, text: str) -> str:
        """Address and length of a text."""
        place, length = self._at, len(text.encode())
        self._data.append(f'(data (i32.const {place}) "{escaped(text)}")')
        self._at += length + 8
        return f"(i32.const {place}) (i32.const {length})"

    def give(self, text: str) -> str:
        """Gives a text."""
        place, length = self.text(text).removeprefix("(i32.const ")[:-1].split(") (i32.const ")
        return f"(i64.const {(int(place) << 32) | int(length)})"

    def ask(self, target: str, given: str = "") -> str:
        """Gives what a call of the host gives: its answer or its error."""
        return f"(call $call {self.text(target)} {self.text(given)})"

    def tell(self, target: str, given: str = "") -> str:
        """Fails, and says what a call of the host gives."""
        return f"(call $fail {self.ask(target, given)})"

    def setting(self, key: str) -> str:
        """Gives a value of the configuration."""
        return f"(call $config {self.text(key)})"

    def emit(self, name: str, data: str = "{}", subject: str = "", *, then: str = "") -> str:
        """Publishes an event, and gives nothing, or what `then` gives."""
        about = self.text(subject) if subject else "(i32.const 0) (i32.const 0)"
        told = f"(call $emit {self.text(name)} {about} {self.text(data)})"
        return f"(call $both {told} {then or '(i64.const 0)'})"

    def then(self, first: str, second: str) -> str:
        """Gives what the second body gives, after the first."""
        return f"(call $both {first} {second})"

    def source(
        self,
        description: Mapping[str, Any],
        answers: Mapping[str, str] | None = None,
        bodies: Mapping[str, str] | None = None,
        *,
        functions: str = "",
        **more: Any,
    ) -> Source:
        """The source of a module with this description, answers and bodies."""
        wat = module(
            description,
            answers,
            imports=IMPORTS,
            functions=f"{FAILS} {' '.join(self._data)} {functions}",
            bodies=bodies,
        )
        return source(description["name"], wat, description["version"], **more)
